"""Small prompts for the tests."""

PORTRAIT = {
    "model": "GPEN small 256 (embedded)",
    "strength": 1.0,
    "area": "head with hair",
    "no_face": "pass the photo on",
    "detector": "RetinaFace MobileNet (embedded)",
    "parser": "face mesh (embedded)",
    "keep_detail": 1.0,
    "min_score": 0.8,
    "smallest_face_px": 16,
    "faces_at_once": 4,
}
LOAD = {"model": PORTRAIT["model"], "fetch": False, "precision": "fp32 (best)", "after_run": "free the GPU"}
DETECT = {"no_face": "pass the photo on", "max_faces": 0, "min_score": 0.8, "smallest_face_px": 16}
PASTE = {
    "strength": 1.0,
    "area": "head with hair",
    "parser": "face mesh (embedded)",
    "keep_detail": 1.0,
    "soften_below_px": 100,
}
FOLDER = {
    **{key: PORTRAIT[key] for key in ("model", "strength", "area", "no_face", "detector", "parser")},
    "folder": "",
    "output_folder": "restored",
    "format": "as the photo",
    "quality": 95,
    "subfolders": True,
    "check_first": False,
    "pattern": "{name}",
    "smallest_face_px": 16,
    "faces_at_once": 4,
}
PRINT = {
    "paper": "by scale",
    "scale": 1.5,
    "dpi": 0.0,
    "crop": "fill",
    "bleed_mm": 0.0,
    "width_mm": 100.0,
    "height_mm": 150.0,
    "resampling": "bicubic",
    "sharpening": 0.4,
}
SAVE = {"filename_prefix": "print/portrait", "format": "PNG", "quality": 95, "profile": "sRGB"}


def node(class_type: str, **inputs) -> dict:
    return {"class_type": class_type, "inputs": inputs}


def picture(kind: str) -> dict:
    return node("TestMakePicture", kind=kind)


def restore(kind: str, **settings) -> dict:
    """Restore one kind of picture; probe the image (3), the mask (4), the count (5), the report (6), changes (7)."""
    return {
        "1": picture(kind),
        "2": node("GPEN_RestorePortrait", image=["1", 0], **{**PORTRAIT, **settings}),
        "3": node("TestProbe", value=["2", 0]),
        "4": node("TestProbe", value=["2", 1]),
        "5": node("TestProbe", value=["2", 2]),
        "6": node("TestProbe", value=["2", 3]),
        "7": node("TestDifference", before=["1", 0], after=["2", 0], mask=["2", 1]),
    }


def steps(kind: str, **settings) -> dict:
    """Restore one kind of picture step by step; probe crops (5), count (6), image (7) and report (8)."""
    return {
        "1": picture(kind),
        "2": node("GPEN_DetectAlignFaces", image=["1", 0], **{**DETECT, **settings}),
        "3": node("GPEN_RestoreFaces", faces=["2", 0], faces_at_once=4),
        "4": node("GPEN_PasteFaces", image=["1", 0], faces=["3", 0], **PASTE),
        "5": node("TestProbe", value=["3", 1]),
        "6": node("TestProbe", value=["2", 3]),
        "7": node("TestProbe", value=["4", 0]),
        "8": node("TestProbe", value=["4", 2]),
    }


def both_ways(kind: str) -> dict:
    """Restore one kind of picture in one step and step by step; probe how far the two differ (10)."""
    prompt = {**steps(kind), "9": node("GPEN_RestorePortrait", image=["1", 0], **PORTRAIT)}
    prompt["10"] = node("TestDifference", before=["9", 0], after=["4", 0], mask=["9", 1])
    return prompt
