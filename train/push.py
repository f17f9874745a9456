"""Upload what was trained to the Hugging Face hub: only when the recipe says so, private unless it exists already."""

from pathlib import Path

from pipeline.errors import EngineError


def push_to_hub(folder: Path, name: str, token: str) -> str:
    """Upload the folder as it is, card included; the model's URL. Raises EngineError with what the hub said."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi(token=token)
    try:
        api.create_repo(name, private=True, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        what = " ".join(str(error).split())[:300]
        raise EngineError(
            f"the hub refused {name}: {what}; the weights are whole in {folder}: mend that and run the same command again"
        ) from error
    return f"{api.endpoint}/{name}"
