"""Upload a dataset folder to the Hugging Face hub: only when the user says so, private unless it exists already."""

from pathlib import Path

from pipeline.errors import EngineError


def push_to_hub(folder: Path, name: str, token: str) -> str:
    """Upload the folder as it is, card included; the dataset's URL. Raises EngineError with what the hub said."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi(token=token)
    try:
        api.create_repo(name, repo_type="dataset", private=True, exist_ok=True)
        api.upload_folder(repo_id=name, repo_type="dataset", folder_path=folder, delete_patterns=["data/*", "kto/*", "sft/*"])
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        what = " ".join(str(error).split())[:300]
        raise EngineError(f"the hub refused {name}: {what}; the dataset is whole in {folder}: mend that and push again") from error
    return f"{api.endpoint}/datasets/{name}"
