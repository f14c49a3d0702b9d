"""The networks: read from files, recognised, loaded, held and placed."""
