"""The same grid on a Ray cluster: here one of two CPUs on this machine."""

import pytest
from conftest import make_rows
from test_grid import EVALUATION, Deadly, refuse, spec

from workbench.errors import InputError
from workbench.experiments import grid, workers
from workbench.store import Run, Store
from workbench.train import supervised

ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def test_a_grid_on_ray_fills_the_store_and_a_killed_or_failed_cell_is_a_row(tiny_base, tmp_path, monkeypatch):
    fields = [{"seed": 0}, {"seed": 1}, {"seed": 2, "max_length": 1024}, {"seed": 3}]
    cells = [grid.Cell(spec(tiny_base, **more), make_rows(8)) for more in fields]
    cells[1] = grid.Cell(cells[1].spec, Deadly(make_rows(8)))
    table = grid.run_grid(cells, EVALUATION, cluster="ray", store=Store(tmp_path), quiet=True)
    assert table["seed"].tolist() == [0] * 3 + [1, 2] + [3] * 3
    killed, failed = table["error"].dropna()
    assert killed == workers.KILLED and failed.startswith("max_length 1024 is more than")
    assert {Run(tmp_path / run).environment["threads"] for run in table["run"].dropna()} == {1}

    monkeypatch.setattr(supervised, "_train_on_rows", refuse)
    here = grid.run_grid([cells[0], cells[3]], EVALUATION, store=Store(tmp_path), quiet=True)
    assert here.equals(table[table["error"].isna()].astype(here.dtypes).reset_index(drop=True))


def test_a_cluster_that_there_is_not_is_refused(tiny_base, tmp_path):
    with pytest.raises(InputError, match='cluster "slurm" is unknown'):
        grid.run_grid([grid.Cell(spec(tiny_base), make_rows(8))], EVALUATION, cluster="slurm", store=Store(tmp_path))
