"""What is known of the weights in a file: their method, epochs, seed and input."""

ORIGIN = {"method": "", "recipe": "", "variant": "", "epochs": 0, "seed": 0, "commit": ""}
"""What is known of weights whose file tells nothing."""

SUITE = "this repository: pretrain/checkpoints/checkpoint.py"


def of_suite(content: dict) -> dict:
    told = {key: content[key] for key in ORIGIN if key in content}
    if seen := content.get("input"):
        scale = {f"pixel_{key}": [round(255 * value, 4) for value in seen[key]] for key in ("mean", "std")}
        told["input"] = {"order": seen["order"], **scale, "stride_in_1x1": seen.get("stride_in_1x1", False)}
    return told
