"""Training of GPEN generators on a folder of aligned faces."""
