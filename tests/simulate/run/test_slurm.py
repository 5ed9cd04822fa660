"""What is asked of Slurm; no job is submitted."""

from __future__ import annotations

import re
import sys

import pytest

from lrplan.errors import UsageError
from lrplan.simulate.run.slurm import slurm_cluster


@pytest.fixture
def jobqueue():
    return pytest.importorskip("dask_jobqueue")


def script(**options):
    with slurm_cluster(start=False, **options) as cluster:
        return cluster.job_script()


def test_options_become_directives_and_single_threaded_workers(jobqueue):
    text = script(cores=4, memory="16GB", walltime="04:00:00", directives=["--partition=long"])
    for line in ("--cpus-per-task=4", "--mem=15G", "-t 04:00:00", "--partition=long"):
        assert f"#SBATCH {line}\n" in text
    assert "export OMP_NUM_THREADS=1\n" in text
    assert "--nthreads 1 " in text
    assert "--nworkers 4 " in text
    assert "gpu" not in text


def test_a_gpu_has_one_worker(jobqueue):
    text = script(cores=8, memory="64GB", device="cuda")
    assert "#SBATCH --cpus-per-task=8\n" in text
    assert "#SBATCH --gpus=1\n" in text
    assert "--nworkers" not in text
    assert "gpus=1" not in script(
        cores=8, memory="64GB", device="cuda", directives=["--gres=gpu:a100:1"]
    )


def test_what_is_not_given_comes_from_the_dask_configuration(jobqueue):
    import dask.config

    with dask.config.set({"jobqueue.slurm.cores": 3, "jobqueue.slurm.memory": "9GB"}):
        text = script()
    assert "--cpus-per-task=3\n" in text
    assert "--mem=9G\n" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs cores; give --cores, or set jobqueue.slurm.cores"),
        ({"cores": 2}, "needs memory; give --memory"),
        ({"cores": 0, "memory": "1GB"}, "cores is 0"),
        ({"cores": 2, "memory": "lots"}, "memory is 'lots'; expected a size such as 16GB"),
        ({"cores": 2, "memory": "1GB", "jobs": 0}, "jobs is 0"),
    ],
)
def test_what_cannot_be_is_refused(jobqueue, options, message):
    with pytest.raises(UsageError, match=message):
        slurm_cluster(start=False, **options)


def test_without_slurm_or_jobqueue_the_message_says_what_to_do(monkeypatch, jobqueue):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="no command sbatch.*--scheduler or --shard"):
        slurm_cluster(cores=2, memory="1GB")
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(UsageError, match=re.escape("pip install 'lrplan[slurm]'")):
        slurm_cluster(cores=2, memory="1GB")
