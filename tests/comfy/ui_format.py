"""From a workflow file, as the page saves it, to the prompt that the server runs."""

_WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
_NEVER, _BYPASS = 2, 4


def to_prompt(workflow: dict, object_info: dict) -> dict:
    """Do what the page does when Run is pressed; only for graphs without subgraphs, reroutes and bypassed nodes."""
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] in ("Note", "MarkdownNote") or node["mode"] == _NEVER:
            continue
        assert node["mode"] != _BYPASS, f"node {node['id']} is bypassed"
        info = object_info[node["type"]]
        inputs = dict(zip(_widget_names(info), node["widgets_values"], strict=False))
        for slot in node["inputs"]:
            if slot.get("link") is not None:
                inputs[slot["name"]] = sources[slot["link"]]
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def _widget_names(info: dict) -> list[str]:
    """Name the widgets of a node in the order in which the page stores their values."""
    names = []
    for name, (kind, *rest) in {**info["input"].get("required", {}), **info["input"].get("optional", {})}.items():
        options = rest[0] if rest else {}
        if (isinstance(kind, list) or kind in _WIDGETS) and not options.get("forceInput"):
            names.append(name)
            if options.get("control_after_generate"):
                names.append(f"{name}: what to do after a run")
            if options.get("image_upload"):
                names.append(f"{name}: upload button")
    return names
