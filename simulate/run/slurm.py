"""A Dask cluster of Slurm jobs, through dask-jobqueue."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

from lrplan.errors import UsageError


def slurm_cluster(
    *,
    jobs: int = 1,
    cores: int | None = None,
    memory: str | None = None,
    walltime: str | None = None,
    directives: Sequence[str] = (),
    device: str = "auto",
    start: bool = True,
) -> Any:
    """Return a cluster whose workers are Slurm jobs.

    Parameters
    ----------
    jobs : int
        That are kept running or queued; one that ends at its walltime is replaced.
    cores, memory, walltime : optional
        Of each job: a number of cores, ``"16GB"``, ``"04:00:00"``. What is not given stands in
        the Dask configuration, under ``jobqueue.slurm``.
    directives : sequence of str
        Further lines of the job script's header, such as ``"--partition=gpu"``.
    device : {"auto", "cpu", "cuda"}
        With "cuda" each job is one worker that trains on one GPU, which is asked for unless a
        directive names it; otherwise a worker for each core.
    start : bool
        Whether to submit the jobs.

    Raises
    ------
    UsageError
        If dask-jobqueue is missing, there is no Slurm here, or an option cannot be.
    """
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise UsageError(
            "--cluster slurm needs dask-jobqueue; install it with: pip install 'lrplan[slurm]'"
        ) from None
    import dask.config
    import dask.utils

    if start and shutil.which("sbatch") is None:
        raise UsageError(
            "there is no Slurm here (no command sbatch); run this on a login node of a Slurm "
            "cluster, or use --scheduler or --shard"
        )
    if jobs < 1:
        raise UsageError(f"jobs is {jobs!r}; expected a whole number of at least 1")
    configured = dask.config.get("jobqueue.slurm", {})
    if cores is None:
        cores = configured.get("cores")
    if memory is None:
        memory = configured.get("memory")
    for name, value in (("cores", cores), ("memory", memory)):
        if value is None:
            raise UsageError(
                f"a Slurm job needs {name}; give --{name}, or set jobqueue.slurm.{name} in the "
                "Dask configuration"
            )
    if cores is None or cores < 1:
        raise UsageError(f"cores is {cores!r}; expected a whole number of at least 1")
    header = list(directives) + list(configured.get("job-extra-directives") or [])
    if device == "cuda" and not any("gpu" in line or "gres" in line for line in header):
        header.append("--gpus=1")
    try:
        dask.utils.parse_bytes(memory)
    except (ValueError, TypeError):
        raise UsageError(f"memory is {memory!r}; expected a size such as 16GB") from None
    options: dict[str, Any] = {"walltime": walltime} if walltime is not None else {}
    cluster = SLURMCluster(
        cores=1 if device == "cuda" else cores,
        # A job's processes are single-threaded: training one organism gains nothing from several
        # threads, and rounds differently.
        processes=1 if device == "cuda" else cores,
        job_cpu=cores,
        memory=memory,
        job_extra_directives=header,
        job_script_prologue=[
            "export OMP_NUM_THREADS=1",
            *(configured.get("job-script-prologue") or []),
        ],
        **options,
    )
    if start:
        # Not `scale`: that would not replace jobs whose time is up.
        cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)
    return cluster
