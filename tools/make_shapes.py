"""Derive the shipped shapes of the Azure 2023 traces: `WATTLANE_DATA=... python tools/make_shapes.py`."""

from __future__ import annotations

from wattlane.core import env
from wattlane.core.errors import InputError
from wattlane.workload.loading import load
from wattlane.workload.shaping import FOLDER, make_shape

SOURCE = "Azure/AzurePublicDataset b469a113, AzureLLMInferenceTrace_{kind}.csv, 2023-11-16"
LICENCE = "CC-BY 4.0"


def main() -> None:
    folder = env.data_dir()
    if folder is None:
        raise InputError("WATTLANE_DATA is not set; expected the folder that holds traces/azure-llm-2023")
    for kind in ("code", "conv"):
        loaded = load(folder / "traces" / "azure-llm-2023" / f"AzureLLMInferenceTrace_{kind}.csv")
        made = make_shape(
            loaded.workload,
            name=f"azure-{kind}",
            source=SOURCE.format(kind=kind),
            licence=LICENCE,
            source_sha256=loaded.sha256,
        )
        path = FOLDER / f"azure-{kind}.json"
        made.write(path)
        print(f"{path}: {path.stat().st_size:,} bytes; {made}")


if __name__ == "__main__":
    main()
