"""What importing ftm costs and pulls in, each in a fresh process."""

import json
import subprocess
import sys

import pytest

HEAVY = ("bertopic", "duckdb", "hdbscan", "numba", "openai", "pandas", "psycopg2",
         "sentence_transformers", "sklearn", "spacy", "sqlalchemy", "torch", "umap",
         "wrds")  # fmt: skip


def loaded_by(code: str) -> set[str]:
    """Top-level modules loaded by a piece of code in a fresh process."""
    probe = f"{code}\nimport sys, json; print(json.dumps([m.split('.')[0] for m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import ftm",
        "import ftm.wiring, ftm.cli.main",
        "from ftm import Quarter, S3TranscriptConnector, QuarterOrchestrator, load_topics",
        "from ftm import WRDSPrefetcher, WRDSConnector",
        "import ftm.text, ftm.topics, ftm.connectors, ftm.mapping, ftm.jobs",
        "import ftm.cli.doctor, ftm.cli.config, ftm.wiring.care",
        "import ftm.care.machine, ftm.care.aws, ftm.care.store, ftm.care.batch, ftm.care.wrds",
        "from ftm import load_panel, load_series, load_themes, sql; import ftm.cli.results",
        "import ftm.naming.llm, ftm.naming.keywords, ftm.wiring.naming",
        "import ftm.cli.prefetch, ftm.cli.run, ftm.cli.look, ftm.cli.demo, ftm.worker",
    ],
)
def test_imports_pull_in_nothing_heavy(code: str) -> None:
    """Importing the package and its public names loads no heavy library."""
    assert loaded_by(code) & set(HEAVY) == set()


def test_import_ftm_alone_loads_nothing_but_itself() -> None:
    """`import ftm` itself loads not even pyarrow: it is far under 0.3 s by construction."""
    assert loaded_by("import ftm") & {"pyarrow", "pydantic", "obstore", "boto3", "numpy"} == set()


def test_unknown_names_are_attribute_errors() -> None:
    """A wrong name says so as any module would; dir() lists the right ones."""
    import ftm

    with pytest.raises(AttributeError, match="load_topicz"):
        _ = ftm.load_topicz  # type: ignore[attr-defined]
    assert set(ftm.__all__) <= set(dir(ftm))
