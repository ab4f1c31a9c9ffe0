"""The verb `fit` as one call: read runs, choose, fit, write the law, and beside it all that a reviewer asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wattlane.core.errors import InputError
from wattlane.core.files import sha256, write_json, write_parquet
from wattlane.model.diagnosis.diagnose import Diagnosis, diagnose
from wattlane.model.fitting import Ask, fit_records, named, provenance_of, single, write_law
from wattlane.model.laws.table import LAW as TABLE_LAW
from wattlane.model.laws.table import LookupTable, write_table
from wattlane.model.records import Records, read_records
from wattlane.model.records.cells import table_of
from wattlane.model.records.from_campaign import TABLE
from wattlane.model.request_law import RequestFit

FIT_KIND, RUNS_KIND = "fit", "fit-runs"
FIT_FILE, RUNS_FILE = "fit.json", "runs.parquet"


@dataclass(frozen=True, eq=False, slots=True)
class FitResult:
    """The law as it was written, the runs it rests on, and its diagnosis where one was asked for."""

    fit: RequestFit | LookupTable
    records: Records
    diagnosis: Diagnosis | None = None


def fit_runs(
    runs: Sequence[Path],
    out: Path,
    ask: Ask,
    *,
    model: str | None = None,
    layout: str | None = None,
    where: Mapping[str, str] | None = None,
    pool: bool = False,
    report: Path | None = None,
    by: Sequence[str] = (),
) -> FitResult:
    """Fit a law to the runs of one or several files and write it to `out`.

    Args:
        runs: tables of runs, folders of campaigns, or files of a published layout.
        out: the law file.
        ask: the law and how to fit it; `table` is the measured lookup, whose cells are the runs.
        model: the model whose runs are taken where there are several, and the name of the law.
        layout: of all files; None finds it out for each.
        where: column to value; other rows are not taken.
        pool: fit runs of several systems or engines together.
        report: folder for `fit.json` and `runs.parquet`; the law then holds conformal intervals as well.
        by: columns whose groups are left out for the report.

    Raises:
        InputError: runs that cannot be read, chosen or fitted; see `wattlane.model.fitting.fit_records`.
    """
    if ask.law != TABLE_LAW:
        ask.entry()
    elif report is not None:
        raise InputError("law table has no residuals; expected no --report: the report of any other law scores it too")
    records = read_records(list(runs), layout).where(where or {})
    if model is not None and records.table["model"].n_unique() > 1 and not pool:
        records = records.where({"model": model})
    inputs = {path.name: sha256(path / TABLE if path.is_dir() else path) for path in runs}
    if ask.law == TABLE_LAW:
        table = table_of(single(records, pool), named(records, model))
        write_table(replace(table, provenance=provenance_of(records, ask.law, inputs)), out)
        return FitResult(table, records)
    fit = fit_records(records, ask, model=model, pool=pool, inputs=inputs)
    diagnosis = None
    if report is not None:
        diagnosis = diagnose(records, fit, ask, by)
        fit = diagnosis.fit
        write_parquet(report / RUNS_FILE, RUNS_KIND, diagnosis.runs)
        write_json(report / FIT_FILE, FIT_KIND, dict(diagnosis.body))
    write_law(fit, out)
    return FitResult(fit, records, diagnosis)
