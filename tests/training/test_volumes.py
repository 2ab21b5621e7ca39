"""The volumes table: right voxels, any number of processes, killed at any point, nothing bad gets in or stops it."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import nibabel
import numpy as np
import pyarrow as pa
import pytest

from selip.processing.nifti_selip import VolumeError, read_volume
from selip.processing.sources.bids import ingest_bids
from selip.processing.sources.config import ExportConfig, IngestConfig
from selip.processing.sources.parquet import export_parquet
from selip.processing.sources.studies import iter_studies
from selip.training import volume_preparation, volume_shards, volumes
from selip.training.volumes import VolumesTable, prepare_volumes
from selip.training.volumes_config import PrepareConfig

SEQUENCES = ("FLAIR", "T1w", "T2w")


class StandInProcessor:
    """Reads volumes as the real processor does, but puts them on a small box in no time."""

    def settings(self) -> dict[str, Any]:
        return {"spatial_size": [12, 10, 8], "stand_in": True}

    def process_study(self, series: list[Any], study_id: str = "", *, skip_invalid: bool = False) -> SimpleNamespace:
        assert skip_invalid
        found, errors = {}, []
        for place, item in enumerate(series):
            try:
                found[place] = read_volume(item.volume, where=item.series_id, max_voxels=10**6)
            except VolumeError as error:
                errors.append((place, error))
        if not found:
            raise errors[0][1]
        boxes = [array[2:38:3, 4:44:4, 2:18:2] / array.max() for array, _ in found.values()]
        return SimpleNamespace(
            volumes=np.stack(boxes).astype(np.float32),
            affine=next(iter(found.values()))[1],
            patch_counts=np.arange(6, dtype=np.uint16).reshape(3, 1, 2) + len(series),
            sequence_ids=np.array([1 + SEQUENCES.index(series[place].sequence) for place in found]),
            kept=tuple(found),
            errors=tuple(errors),
        )


def write_head(path: Path, seed: int, shape: tuple[int, int, int] = (40, 48, 20)) -> None:
    """Write an ellipsoid with a texture of its own in noise-free air, 4.5 x 4.5 x 8 mm."""
    generator = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    inside = sum(axis**2 for axis in axes) < 0.8
    texture = 300 + 100 * np.sin(4 * axes[0] + 7 * axes[1] * generator.random()) + generator.normal(0, 10, shape)
    affine = np.diag([4.5, 4.5, 8.0, 1.0])
    affine[:3, 3] = -0.5 * np.array(shape) * (4.5, 4.5, 8.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image((texture * inside).astype(np.int16), affine), path)


def make_table(folder: Path, studies: int) -> Path:
    """Write a BIDS folder and its studies table, with studies in every split."""
    for index in range(studies):
        stem = f"sub-{index + 1:04d}"
        for number, sequence in enumerate(SEQUENCES):
            write_head(folder / "bids" / stem / "anat" / f"{stem}_{sequence}.nii.gz", seed=3 * index + number)
        (folder / "bids" / stem / f"{stem}_report.txt").write_text("No lesion.")
    ingest_bids(IngestConfig(folder / "bids", folder / "studies", fractions=(0.5, 0.25, 0.25)))
    return folder / "studies"


@pytest.fixture(scope="module")
def shared_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A studies table of nine studies that no test changes."""
    return make_table(tmp_path_factory.mktemp("shared"), 9)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A studies table of nine studies for tests that damage files."""
    return make_table(tmp_path, 9)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in processor, chunks of two studies and shards of four."""
    for module in (volumes, volume_preparation):
        monkeypatch.setattr(module, "image_processor_of", lambda size: StandInProcessor())
    monkeypatch.setattr(volumes, "CHUNK_STUDIES", 2)
    monkeypatch.setattr(volumes, "MAX_SHARD_BYTES", 15_000)


def config(table: Path, out: Path, **options: Any) -> PrepareConfig:
    """Return options for one process."""
    return PrepareConfig(table, out, **{"num_proc": 1, **options})


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def damaged(table: Path, name: str) -> Path:
    """Return the one file of the source with this name."""
    return next((table.parent / "bids").rglob(name))


def wait_for(condition: Callable[[], bool], timeout_s: float = 120.0) -> None:
    """Wait until something is true, or fail."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def is_alive(process: int) -> bool:
    """Tell whether a process runs; one that ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class TestContents:
    def test_table_holds_what_the_processor_gives(self, shared_table: Path, tmp_path: Path) -> None:
        """Real processor: stored voxels are round(255 v) of `process_study`, with its affine and head counts."""
        from selip.processing.image_processing_selip import SelipImageProcessor, SeriesInput

        small = next(iter_studies(shared_table, "test"))
        root = tmp_path / "one"
        for item in small["series"]:
            path = Path(item["volume"]["path"])
            target = root / "bids" / small["patient_id"] / "anat" / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        (root / "bids" / small["patient_id"] / f"{small['patient_id']}_report.txt").write_text("No lesion.")
        ingest_bids(IngestConfig(root / "bids", root / "studies"))
        info = prepare_volumes(config(root / "studies", root / "volumes"))
        prepared = VolumesTable(root / "volumes")
        processor = SelipImageProcessor(**prepared.processor_config)
        inputs = [SeriesInput(item["volume"]["path"], item["sequence"]) for item in small["series"]]
        expected = processor.process_study(inputs)
        series = prepared.series_of(small["study_id"])
        assert info.n == len(prepared) == len(series) == 3
        for index, item in enumerate(series):
            assert item.series_id == small["series"][index]["series_id"]
            assert processor.sequence_names[item.sequence_id] == item.sequence == small["series"][index]["sequence"]
            volume = prepared.read(item.row)
            assert volume.dtype == np.uint8
            np.testing.assert_array_equal(volume, np.rint(expected.volumes[index] * 255))
            assert volume.std() > 10
            np.testing.assert_array_equal(prepared.affine(item.row), expected.affine)
            np.testing.assert_array_equal(prepared.patch_counts(item.row), expected.patch_counts)

    def test_rows_follow_the_studies_table(self, shared_table: Path, tmp_path: Path, stand_in: None) -> None:
        """Studies, splits, series and their order are those of the studies table, over several shards."""
        info = prepare_volumes(config(shared_table, tmp_path / "out"))
        prepared = VolumesTable(tmp_path / "out")
        assert len(info.shards) > 2
        assert all(shard["bytes"] <= 15_000 for shard in info.shards)
        for split in ("train", "validation", "test"):
            rows = list(iter_studies(shared_table, split))
            assert prepared.study_ids(split) == [row["study_id"] for row in rows]
            for row in rows:
                found = [(item.series_id, item.sequence) for item in prepared.series_of(row["study_id"])]
                assert found == [(item["series_id"], item["sequence"]) for item in row["series"]]
        assert [item.row for study in prepared.study_ids() for item in prepared.series_of(study)] == list(range(27))
        assert info.sequences == {name: 9 for name in SEQUENCES}

    def test_embedded_volumes_give_the_same_shards(self, shared_table: Path, tmp_path: Path, stand_in: None) -> None:
        """A Parquet export prepares to the same bytes as the files it embeds."""
        export_parquet(ExportConfig(shared_table, tmp_path / "export"))
        prepare_volumes(config(shared_table, tmp_path / "local"))
        prepare_volumes(config(tmp_path / "export", tmp_path / "exported"))
        assert digests(tmp_path / "local") == digests(tmp_path / "exported")

    def test_two_processes_give_the_bytes_of_one(self, tmp_path: Path) -> None:
        """Real processor: the result does not depend on num_proc."""
        table = make_table(tmp_path, 4)
        for num_proc in (1, 2):
            prepare_volumes(config(table, tmp_path / str(num_proc), num_proc=num_proc))
        assert digests(tmp_path / "1") == digests(tmp_path / "2")


class TestReading:
    @pytest.fixture
    def prepared(self, shared_table: Path, tmp_path: Path, stand_in: None) -> VolumesTable:
        """A finished table of 27 volumes."""
        prepare_volumes(config(shared_table, tmp_path / "out"))
        return VolumesTable(tmp_path / "out")

    def test_datasets_reads_the_shards(self, prepared: VolumesTable) -> None:
        """`Dataset.from_file` gives the same rows, and pyarrow's LZ4 the same voxels."""
        row = 0
        for shard in prepared.info.shards:
            for item in datasets.Dataset.from_file(str(prepared.path / shard["file"])):
                voxels = pa.decompress(item["data"], int(np.prod(item["shape"])), codec="lz4_raw")
                volume = np.frombuffer(voxels, np.uint8).reshape(item["shape"])
                np.testing.assert_array_equal(volume, prepared.read(row))
                np.testing.assert_array_equal(np.reshape(item["affine"], (4, 4)), prepared.affine(row))
                assert item["series_id"] in {series.series_id for series in prepared.series_of(item["study_id"])}
                row += 1
        assert row == len(prepared)

    def test_volume_belongs_to_the_caller(self, prepared: VolumesTable) -> None:
        """Writing into a volume changes neither the table nor another read."""
        first = prepared.read(3)
        expected = first.copy()
        first[:] = 0
        np.testing.assert_array_equal(prepared.read(3), expected)

    def test_threads_and_pickled_copies_read_the_same(self, prepared: VolumesTable) -> None:
        """Eight threads on one table and a pickled copy agree with a plain loop."""
        expected = [prepared.read(row) for row in range(len(prepared))]
        rows = np.random.default_rng(0).integers(0, len(prepared), 400).tolist()
        with ThreadPoolExecutor(8) as pool:
            for row, volume in zip(rows, pool.map(prepared.read, rows), strict=True):
                np.testing.assert_array_equal(volume, expected[row])
        copy = pickle.loads(pickle.dumps(prepared))
        np.testing.assert_array_equal(copy.read(5), expected[5])

    def test_reader_needs_no_torch(self, prepared: VolumesTable) -> None:
        """Opening and reading a table in a fresh process imports neither torch nor transformers."""
        program = (
            "import sys; from selip.training.volumes import VolumesTable; t = VolumesTable(sys.argv[1]); t.read(0);"
            "print([name for name in ('torch', 'transformers') if name in sys.modules])"
        )
        result = subprocess.run(
            [sys.executable, "-c", program, str(prepared.path)], capture_output=True, text=True, check=True
        )
        assert result.stdout.strip() == "[]"

    def test_verify_finds_a_changed_byte(self, prepared: VolumesTable) -> None:
        """An intact table passes; one flipped bit is found and its shard named."""
        prepared.verify()
        path = prepared.path / prepared.info.shards[1]["file"]
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(ValueError, match=path.name):
            prepared.verify()

    @pytest.mark.parametrize(
        ("call", "error", "message"),
        [
            (lambda table: table.read(27), IndexError, "expected 0 to 26, got 27"),
            (lambda table: table.read(-1), IndexError, "expected 0 to 26, got -1"),
            (lambda table: table.series_of("sub-x"), KeyError, "sub-x"),
            (lambda table: table.study_ids("dev"), ValueError, "expected one of"),
        ],
    )
    def test_wrong_requests_are_errors(
        self, prepared: VolumesTable, call: Callable[[VolumesTable], Any], error: type[Exception], message: str
    ) -> None:
        """Each names what was asked and what there is."""
        with pytest.raises(error, match=message):
            call(prepared)

    def test_missing_table(self, tmp_path: Path) -> None:
        """The message says which command makes one."""
        with pytest.raises(FileNotFoundError, match="selip prepare"):
            VolumesTable(tmp_path)


class Killed(BaseException):
    """Stands for the death of the process."""


class TestResuming:
    @pytest.fixture
    def uninterrupted(self, shared_table: Path, tmp_path: Path, stand_in: None) -> dict[str, str]:
        """Digests of a table written in one go."""
        prepare_volumes(config(shared_table, tmp_path / "whole"))
        return digests(tmp_path / "whole")

    @pytest.mark.parametrize("studies", range(9))
    def test_killed_between_studies(
        self,
        shared_table: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        uninterrupted: dict[str, str],
        studies: int,
    ) -> None:
        """After k studies, with a torn write left behind, the rerun ends with the same bytes and redoes little."""
        out = tmp_path / "out"
        real, seen = volumes.map_studies, []

        def dying(items: Any, size: str, num_proc: int) -> Iterator[Any]:
            for number, result in enumerate(real(items, size, num_proc)):
                if number == studies:
                    raise Killed
                yield result

        def counting(items: Any, size: str, num_proc: int) -> Iterator[Any]:
            for result in real(items, size, num_proc):
                seen.append(result)
                yield result

        monkeypatch.setattr(volumes, "map_studies", dying)
        with pytest.raises(Killed):
            prepare_volumes(config(shared_table, out))
        with pytest.raises(FileNotFoundError, match="an unfinished one"):
            VolumesTable(out)
        for path in out.glob(".*.partial"):
            path.write_bytes(path.read_bytes() + b"torn")
        with (out / volume_shards.JOURNAL_NAME).open("a") as journal:
            journal.write('{"next_study": 99, "ser')
        monkeypatch.setattr(volumes, "map_studies", counting)
        prepare_volumes(config(shared_table, out))
        assert digests(out) == uninterrupted
        assert len(seen) == 9 - studies // 2 * 2  # chunks of two studies

    def test_killed_at_any_write(
        self,
        shared_table: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        uninterrupted: dict[str, str],
    ) -> None:
        """Before or after every flush and rename, the rerun ends with the same bytes."""
        real_flush, real_replace = volume_shards._flush, os.replace
        calls = 0

        def failing(real: Callable[..., None], at: int, *, before: bool) -> Callable[..., None]:
            def call(*arguments: Any) -> None:
                nonlocal calls
                calls += 1
                if calls == at and before:
                    raise Killed
                real(*arguments)
                if calls == at:
                    raise Killed

            return call

        deaths = 0
        for at in range(1, 100):
            for before in (True, False):
                calls = 0
                out = tmp_path / f"out-{at}-{before}"
                monkeypatch.setattr(volume_shards, "_flush", failing(real_flush, at, before=before))
                monkeypatch.setattr(volume_shards.os, "replace", failing(real_replace, at, before=before))
                try:
                    prepare_volumes(config(shared_table, out))
                except Killed:
                    deaths += 1
                monkeypatch.setattr(volume_shards, "_flush", real_flush)
                monkeypatch.setattr(volume_shards.os, "replace", real_replace)
                if (out / volumes.INDEX_NAME).exists():
                    (out / volume_shards.JOURNAL_NAME).unlink(missing_ok=True)
                else:
                    prepare_volumes(config(shared_table, out))
                assert digests(out) == uninterrupted
            if calls < at:
                break
        assert deaths > 20

    @pytest.mark.slow
    @pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc to list processes")
    def test_killed_process_leaves_no_worker_and_its_run_goes_on(self, tmp_path: Path) -> None:
        """Real processor, two workers, SIGKILL after the first chunk: workers end, the rerun gives the same bytes."""
        table = make_table(tmp_path, 40)
        program = (
            "import sys; from pathlib import Path; from selip.training.volumes_config import PrepareConfig;"
            "from selip.training.volumes import prepare_volumes;"
            "prepare_volumes(PrepareConfig(Path(sys.argv[1]), Path(sys.argv[2]), num_proc=2))"
        )
        run = subprocess.Popen([sys.executable, "-c", program, str(table), str(tmp_path / "out")])
        journal = tmp_path / "out" / volume_shards.JOURNAL_NAME
        wait_for(lambda: journal.exists() and len(journal.read_text().splitlines()) > 1)
        workers = [int(child) for child in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()]
        assert len(workers) >= 2
        run.kill()
        run.wait()
        wait_for(lambda: not any(is_alive(worker) for worker in workers))
        prepare_volumes(config(table, tmp_path / "out"))
        prepare_volumes(config(table, tmp_path / "whole"))
        assert digests(tmp_path / "out") == digests(tmp_path / "whole")

    def test_neither_lost_data_nor_other_settings_are_continued(
        self, shared_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: None
    ) -> None:
        """A shard shorter than the journal says, and a table of other studies, are errors; overwriting starts anew."""
        out = tmp_path / "out"
        real = volumes.map_studies

        def dying(items: Any, size: str, num_proc: int) -> Iterator[Any]:
            for number, result in enumerate(real(items, size, num_proc)):
                if number == 3:
                    raise Killed
                yield result

        monkeypatch.setattr(volumes, "map_studies", dying)
        with pytest.raises(Killed):
            prepare_volumes(config(shared_table, out))
        partial = next(out.glob(".*.partial"))
        partial.write_bytes(partial.read_bytes()[:-1])
        with pytest.raises(ValueError, match="prepare again with overwrite"):
            prepare_volumes(config(shared_table, out))
        monkeypatch.setattr(volumes, "map_studies", real)
        other = make_table(tmp_path / "other", 2)
        with pytest.raises(ValueError, match="unfinished table of other settings"):
            prepare_volumes(config(other, out))
        assert prepare_volumes(config(other, out, overwrite=True)).studies == 2

    def test_finished_table_is_kept_unless_told(self, shared_table: Path, tmp_path: Path, stand_in: None) -> None:
        """Overwriting is asked for, gives the same bytes, and leaves foreign files."""
        out = tmp_path / "out"
        prepare_volumes(config(shared_table, out))
        before = digests(out)
        with pytest.raises(FileExistsError, match="say overwrite"):
            prepare_volumes(config(shared_table, out))
        (out / "notes.txt").write_text("mine")
        prepare_volumes(config(shared_table, out, overwrite=True))
        assert {**before, "notes.txt": hashlib.sha256(b"mine").hexdigest()} == digests(out)


class TestQuarantine:
    @pytest.mark.parametrize("use_stand_in", [True, False])
    def test_bad_series_are_left_out_and_listed(
        self, table: Path, tmp_path: Path, request: pytest.FixtureRequest, use_stand_in: bool
    ) -> None:
        """Only what is bad is missing, with the reason of each in the index and in the printed summary."""
        if use_stand_in:
            request.getfixturevalue("stand_in")
        truncated = damaged(table, "sub-0002_T1w.nii.gz")
        truncated.write_bytes(truncated.read_bytes()[:2000])
        for sequence in SEQUENCES:
            damaged(table, f"sub-0005_{sequence}.nii.gz").unlink()
        info = prepare_volumes(config(table, tmp_path / "out"))
        reasons = {(item["study_id"], item["series_id"]): item["reason"] for item in info.quarantined}
        assert reasons == {
            ("sub-0002", "sub-0002_T1w"): "truncated",
            **{("sub-0005", f"sub-0005_{sequence}"): "missing" for sequence in SEQUENCES},
        }
        assert info.quarantined_by_reason == {"missing": 3, "truncated": 1}
        assert "quarantined 4 series: missing 3, truncated 1" in str(info)
        prepared = VolumesTable(tmp_path / "out")
        assert [item.sequence for item in prepared.series_of("sub-0002")] == ["FLAIR", "T2w"]
        assert "sub-0005" not in prepared.study_ids()
        assert info.n == len(prepared) == 9 * 3 - 4
        assert json.loads((tmp_path / "out" / "volumes.json").read_text())["quarantined"] == info.quarantined

    def test_series_that_spoils_a_study_is_found(
        self, shared_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: None
    ) -> None:
        """When one series breaks the whole study with an unforeseen error, the others are still prepared."""
        real = StandInProcessor.process_study

        def spoilt(self: StandInProcessor, series: list[Any], *arguments: Any, **options: Any) -> Any:
            if any(item.series_id == "sub-0003_T2w" for item in series):
                raise ZeroDivisionError
            return real(self, series, *arguments, **options)

        monkeypatch.setattr(StandInProcessor, "process_study", spoilt)
        info = prepare_volumes(config(shared_table, tmp_path / "out"))
        reason = "unexpected-ZeroDivisionError"
        assert info.quarantined == [{"study_id": "sub-0003", "series_id": "sub-0003_T2w", "reason": reason}]
        found = [item.sequence for item in VolumesTable(tmp_path / "out").series_of("sub-0003")]
        assert found == ["FLAIR", "T1w"]

    def test_series_that_do_not_go_together_are_all_quarantined(
        self, shared_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: None
    ) -> None:
        """Good alone and bad together: the study is left out with the reason of the whole."""
        real = StandInProcessor.process_study

        def disagreeing(self: StandInProcessor, series: list[Any], study_id: str, **options: Any) -> Any:
            if study_id == "sub-0003" and len(series) > 1:
                raise VolumeError("affine", "no common box", study_id)
            return real(self, series, study_id, **options)

        monkeypatch.setattr(StandInProcessor, "process_study", disagreeing)
        info = prepare_volumes(config(shared_table, tmp_path / "out"))
        assert [item["series_id"] for item in info.quarantined] == [f"sub-0003_{name}" for name in SEQUENCES]
        assert info.quarantined_by_reason == {"affine": 3}

    def test_too_many_bad_series_stop_the_run(self, table: Path, tmp_path: Path, stand_in: None) -> None:
        """Above the set share it is an error with reasons and examples; a higher limit goes on from there."""
        for index in range(1, 4):
            for sequence in ("T1w", "T2w"):
                damaged(table, f"sub-000{index}_{sequence}.nii.gz").write_bytes(b"not a nifti file")
        with pytest.raises(ValueError, match=r"6 of 27 series cannot be used \(.* 6; for instance sub-000"):
            prepare_volumes(config(table, tmp_path / "out"))
        info = prepare_volumes(config(table, tmp_path / "out", max_bad_fraction=0.25))
        assert (info.n, len(info.quarantined)) == (21, 6)

    @pytest.mark.parametrize("options", [{"num_proc": 0}, {"max_bad_fraction": 1.5}, {"max_bad_fraction": -0.1}])
    def test_wrong_options_are_refused(self, tmp_path: Path, options: dict[str, Any]) -> None:
        """The option is named."""
        with pytest.raises(ValueError, match=next(iter(options))):
            PrepareConfig(tmp_path, tmp_path, **options)
