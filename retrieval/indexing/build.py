"""Build and refresh an index from folders of music.

Scan; leave out what the catalogue knows by path, size and time; hash the rest in worker processes; enter files whose
audio is known, whatever their tags, without decoding them and decode the others; embed chunks in batches gathered over
several files; commit each track as soon as its last chunk is embedded. Committed tracks survive any interruption; the
same command resumes the build. A file that cannot be decoded is recorded as skipped, unless the cause is transient.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from encoders.embed import AudioEncoder
from index import IndexMissingError, Manifest, VectorIndex, printable
from retrieval.indexing.away import AbsentDisks
from retrieval.indexing.batcher import Embedded, Embedder
from retrieval.indexing.commit import commit_embedded, commit_known, commit_tags
from retrieval.indexing.cue_update import update_sheets
from retrieval.indexing.decode_pool import (
    Begun,
    Chunk,
    DecodePool,
    Event,
    Failed,
    Finished,
    Hashed,
    Restarted,
    Tagged,
)
from retrieval.indexing.plan import Plan, make_plan, missing_tracks
from retrieval.indexing.signals import StopSignals
from retrieval.indexing.types import (
    BuildProgress,
    BuildSummary,
    IngestError,
    IngestInterrupted,
    IngestOptions,
    OnProgress,
)
from retrieval.indexing.worker_process import WorkerStartError
from retrieval.library.passed_over import PassedOver
from retrieval.library.scan import AudioFile, Problem, Scan, is_under, scan

__all__ = ["build", "embed_again"]

_MIN_PROGRESS_GAP_S = 0.1
_TRIED_AGAIN = " (the next build tries it again)"


def build(
    roots: Sequence[str | os.PathLike[str]],
    *,
    index_path: str | os.PathLike[str],
    model: AudioEncoder,
    options: IngestOptions = IngestOptions(),  # noqa: B008 - frozen
    on_progress: OnProgress | None = None,
) -> BuildSummary:
    """Bring an index up to date with folders of music; make the index if there is none.

    Args:
        roots: folders and files.
        index_path: the index's folder.
        model: embeds the audio.
        options: how to build.
        on_progress: called in this thread for each file, after each batch, and four times a second while waiting for
            decoders.

    Returns:
        What was done. Files that cannot be decoded are skipped, and listed in `problems` by this and later builds.

    Raises:
        FileNotFoundError: a root does not exist (with `options.prune`: and no track of the index was there).
        ValueError: the model was never saved, so nothing identifies it.
        IndexMismatchError, IndexDamagedError, IndexBusyError: another encoder made the index, or it is damaged or in
        use.
        IngestError: the decoding processes do not start; or `options.strict` and files were skipped or are partial.
        IngestInterrupted: Ctrl-C or SIGTERM.
    """
    with StopSignals() as stop:
        run = _Run(options, on_progress, stop)
        try:
            run.build(roots, Path(index_path), model)
        except KeyboardInterrupt:
            raise IngestInterrupted(run.summary(), stop.received or signal.SIGINT) from None
        except WorkerStartError as error:
            raise IngestError(str(error), summary=run.summary()) from error
    summary = run.summary()
    failed = [*run.skipped, *run.partial]
    if options.strict and failed:
        first = "; ".join(str(problem) for problem in failed[:3])
        more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
        raise IngestError(f"{len(failed)} files could not be indexed as a whole: {first}{more}", summary=summary)
    return summary


def embed_again(
    files: Sequence[AudioFile],
    *,
    index: VectorIndex,
    model: AudioEncoder,
    options: IngestOptions = IngestOptions(),  # noqa: B008 - frozen
    on_progress: OnProgress | None = None,
) -> BuildSummary:
    """Embed files, whatever the index knows of them, and commit each in the place of its track.

    Vectors of another track with the same content are used, if they are sound.

    Args:
        files: as they are on disk now.
        index: open for writing; made by the model.
        model: embeds the audio.
        options: how to build; what concerns folders is not used.
        on_progress: as for `build`.

    Raises:
        IngestError: the decoding processes do not start.
        IngestInterrupted: Ctrl-C or SIGTERM. What was committed stays.
    """
    with StopSignals() as stop:
        run = _Run(options, on_progress, stop)
        try:
            run.embed(files, index, model)
        except KeyboardInterrupt:
            raise IngestInterrupted(run.summary(), stop.received or signal.SIGINT) from None
        except WorkerStartError as error:
            raise IngestError(str(error), summary=run.summary()) from error
    return run.summary()


class _Run:
    """One build: its counters, and the steps in order."""

    def __init__(self, options: IngestOptions, on_progress: OnProgress | None, stop: StopSignals) -> None:
        self._options = options
        self._on_progress = on_progress
        self._stop = stop
        self._began_s = time.monotonic()
        self._embedding_since_s: float | None = None
        self._reported_s = 0.0
        self._stage = "scanning"
        self._current = ""
        self._n_files = 0
        self._n_done = 0
        self._bytes_done = 0
        self._bytes_total = 0
        self._counts = dict.fromkeys(("added", "updated", "retagged", "unchanged", "moved", "removed", "kept"), 0)
        self._n_segments = 0
        self._embedder: Embedder | None = None
        self._problems: list[Problem] = []
        self._passed_over = PassedOver()
        self._absent = AbsentDisks()
        self._n_transient = 0
        self._moved: set[bytes] = set()
        self.skipped: list[Problem] = []
        self.partial: list[Problem] = []

    def build(self, roots: Sequence[str | os.PathLike[str]], index_path: Path, model: AudioEncoder) -> None:
        """Run all steps; whatever this raises, what was committed stays."""
        fingerprint = model.fingerprint
        if not fingerprint:
            raise ValueError("the model has no fingerprint: save it with save_pretrained, or load a saved one")
        index = _open_index(index_path, fingerprint)  # first: a wrong index is reported before a long scan
        try:
            prune = self._options.prune and index is not None
            known = index.tracks() if index is not None else []
            found = scan(
                roots,
                on_folder=self._scanned,
                allow_missing=prune,
                include_hidden=self._options.include_hidden,
                sniff=self._options.sniff,
                known={track.file for track in known},
            )
            self._passed_over = found.passed_over
            if index is not None and prune:
                _require_known(found, index)
            self._problems.extend(found.problems)
            self._n_files = len(found.files)
            self._stop.check()
            if index is None:
                index = _create_index(index_path, model, fingerprint)
            plan = make_plan(
                found,
                tracks=known,
                skipped=index.skipped(),
                retry_skipped=self._options.retry_skipped,
                prune=self._options.prune,
                on_step=self._report,
            )
            self._counts["unchanged"] = plan.n_unchanged
            self.skipped.extend(plan.known_bad)
            self.partial.extend(plan.known_partial)
            self._n_done = len(plan.known_bad) + (0 if self._options.rescan_tags else len(plan.known))
            self._rename(plan, index)
            tags_only = plan.known if self._options.rescan_tags else ()
            self.embed(plan.todo, index, model, tags_only=tags_only)
            self._forget(found, plan, index)
            encoding = self._options.tag_encoding
            self._problems.extend(update_sheets(found, index, encoding=encoding, on_step=self._report))
        finally:
            if index is not None:
                index.close()

    def summary(self) -> BuildSummary:
        """Return what was done so far."""
        problems = sorted([*self._problems, *self.skipped, *self.partial], key=lambda problem: problem.path)
        return BuildSummary(
            **self._counts,
            skipped=len(self.skipped),
            transient=self._n_transient,
            partial=len(self.partial),
            audio_s=self._embedder.audio_s if self._embedder else 0.0,
            wall_s=time.monotonic() - self._began_s,
            n_segments=self._n_segments,
            problems=tuple(problems),
            passed_over=self._passed_over,
        )

    def embed(
        self,
        todo: Sequence[AudioFile],
        index: VectorIndex,
        model: AudioEncoder,
        *,
        tags_only: Sequence[AudioFile] = (),
    ) -> None:
        """Read, embed and commit files; of others, read the tags."""
        self._n_files = max(self._n_files, len(todo))
        self._bytes_total = sum(file.size_bytes for file in todo)
        self._stage = "embedding"
        self._embedding_since_s = time.monotonic()
        self._report()
        if not todo and not tags_only:
            return
        sample_rate_hz, chunk_s = model.sample_rate_hz, model.chunk_s
        embedder = self._embedder = Embedder(
            model, batch_chunks=self._options.batch_chunks, chunk_samples=round(sample_rate_hz * chunk_s)
        )
        with DecodePool(
            todo,
            tags_only=tags_only,
            options=self._options,
            sample_rate_hz=sample_rate_hz,
            chunk_s=chunk_s,
        ) as pool:
            for event in pool.events():
                self._stop.check()
                if event is None:  # the decoders are behind: the model need not wait for a full batch
                    embedder.flush()
                else:
                    self._handle(event, pool, embedder, index)
                self._commit(embedder.completed(), index)
                self._report(_MIN_PROGRESS_GAP_S)
        embedder.flush()
        self._commit(embedder.completed(), index)

    def _handle(self, event: Event, pool: DecodePool, embedder: Embedder, index: VectorIndex) -> None:
        if isinstance(event, Chunk):
            embedder.add(event)
        elif isinstance(event, Hashed):
            self._decode_unless_known(event, pool, index)
        elif isinstance(event, Tagged):
            self._retag(event, index)
        elif isinstance(event, Begun):
            self._current = printable(event.file.path)
            embedder.begin(event)
        elif isinstance(event, Finished):
            embedder.finish(event)
        elif isinstance(event, Restarted):
            embedder.drop(event.file)
        elif isinstance(event, Failed):
            embedder.drop(event.file)
            self._fail(event, index)

    def _decode_unless_known(self, hashed: Hashed, pool: DecodePool, index: VectorIndex) -> None:
        known = commit_known(index, hashed, absent=self._absent)
        if known is None:
            pool.decode(hashed)
            return
        pool.leave(hashed)
        self._count(known.counted_as)
        self._n_segments += known.n_segments
        self._note(hashed.file, known.note)
        self._file_done(hashed.file)

    def _retag(self, tagged: Tagged, index: VectorIndex) -> None:
        if tagged.problem is not None:
            self._problems.append(Problem(tagged.file.path, f"its tags could not be read again: {tagged.problem}"))
        elif commit_tags(index, tagged) and os.fsencode(tagged.file.path) not in self._moved:
            self._count("retagged")
            self._counts["unchanged"] -= 1
        self._n_done += 1
        self._report(_MIN_PROGRESS_GAP_S)

    def _commit(self, embedded: list[Embedded], index: VectorIndex) -> None:
        """Commit the files that one batch has completed."""
        for file, committed in commit_embedded(index, embedded):
            if committed is None:
                self._skip(file.begun.file, "the model gives no finite vector for it", index)
                continue
            self._count(committed.counted_as)
            self._n_segments += committed.n_segments
            self._note(file.begun.file, committed.note)
            self._file_done(file.begun.file)

    def _note(self, file: AudioFile, note: str | None) -> None:
        if note is not None:
            self.partial.append(Problem(file.path, note))

    def _fail(self, failed: Failed, index: VectorIndex) -> None:
        """Skip a file: for good, or until the next build where the content may not be the cause."""
        file, reason = failed.file, failed.reason
        if not failed.transient:
            self._skip(file, reason, index)
            return
        if failed.hangs:
            n_tries = self._n_hangs(file, index) + 1
            if n_tries >= self._options.most_hangs:
                builds = "1 build" if n_tries == 1 else f"{n_tries} builds"
                self._skip(file, f"{reason}, in {builds} (--retry-skipped tries it again)", index)
                return
            index.skip(file.path, reason + _TRIED_AGAIN, file.size_bytes, file.mtime_ns, n_tries=n_tries)
        # What the system refuses today may work tomorrow with size and time unchanged: that is not recorded. A track
        # that the index holds of the file stays.
        self._n_transient += 1
        self.skipped.append(Problem(file.path, reason + _TRIED_AGAIN))
        self._file_done(file)

    def _n_hangs(self, file: AudioFile, index: VectorIndex) -> int:
        """Return in how many builds before this one the decoder hung on the file as it is."""
        skip = index.skipped_at(file.path)
        if skip is None or (skip.size_bytes, skip.mtime_ns) != (file.size_bytes, file.mtime_ns):
            return 0
        return skip.n_tries

    def _skip(self, file: AudioFile, reason: str, index: VectorIndex) -> None:
        index.skip(file.path, reason, file.size_bytes, file.mtime_ns)
        self.skipped.append(Problem(file.path, reason))
        self._file_done(file)

    def _rename(self, plan: Plan, index: VectorIndex) -> None:
        """Enter tracks that were found over a link under the path that leads over none."""
        for path, new_path in plan.renamed:
            track = index.track(path)
            assert track is not None  # this process alone writes
            index.update(path, replace(track, path=new_path))
            self._moved.add(new_path)
        self._counts["moved"] += plan.n_moved

    def _forget(self, found: Scan, plan: Plan, index: VectorIndex) -> None:
        """Remove tracks whose files are gone, once it is known which of them have only moved, and second tracks."""
        self._stage = "finishing"
        self._report()
        still_there = tuple(path for path in plan.missing if index.track(path) is not None)
        missing = missing_tracks(
            found, still_there, skips=plan.stale_skips, prune=self._options.prune, index_path=index.path
        )
        self._problems.extend(missing.problems)
        self._counts["kept"] = missing.n_kept
        for path in (*missing.forgotten, *plan.second_names):
            self._stop.check()
            index.remove(path)
            self._count("removed")
        for path in missing.forgotten_skips:
            index.remove(path)
        self._report()

    def _count(self, what: str) -> None:
        self._counts[what] += 1

    def _file_done(self, file: AudioFile) -> None:
        self._n_done += 1
        self._bytes_done += file.size_bytes
        self._report()

    def _scanned(self, n_files: int) -> None:
        self._stop.check()
        self._n_files = n_files
        self._report(_MIN_PROGRESS_GAP_S)

    def _report(self, min_gap_s: float = 0.0) -> None:
        """Call the callback, unless it was called less than `min_gap_s` ago."""
        self._stop.check()
        now_s = time.monotonic()
        if self._on_progress is None or now_s - self._reported_s < min_gap_s:
            return
        self._reported_s = now_s
        embedding_s = now_s - self._embedding_since_s if self._embedding_since_s is not None else 0.0
        audio_s = self._embedder.audio_s if self._embedder else 0.0
        bytes_done = self._bytes_done + (self._embedder.open_bytes if self._embedder else 0)
        to_go = self._bytes_total - bytes_done
        self._on_progress(
            BuildProgress(
                stage=self._stage,
                files_done=self._n_done,
                files_total=self._n_files,
                skipped=len(self.skipped),
                audio_s=audio_s,
                bytes_done=bytes_done,
                bytes_total=self._bytes_total,
                elapsed_s=now_s - self._began_s,
                rate_x=audio_s / embedding_s if embedding_s > 0 else 0.0,
                remaining_s=to_go * embedding_s / bytes_done if bytes_done and embedding_s > 1.0 else None,
                current=self._current,
            )
        )


def _require_known(found: Scan, index: VectorIndex) -> None:
    """Refuse a root that is neither on disk nor in the index: a misspelt one, most likely."""
    for root in set(found.roots) & set(found.dangling):
        if not any(is_under(track.file, root) for track in index.tracks()):
            raise FileNotFoundError(f"no such file or folder, and no track of the index was there: {printable(root)}")


def _open_index(path: Path, fingerprint: str) -> VectorIndex | None:
    try:
        return VectorIndex.open(path, encoder=fingerprint, read_only=False)
    except IndexMissingError:
        return None


def _create_index(path: Path, model: AudioEncoder, fingerprint: str) -> VectorIndex:
    # One chunk gives the width of the vectors: a ramp, since silence may have no direction.
    sample_rate_hz, chunk_s = model.sample_rate_hz, model.chunk_s
    ramp = np.linspace(-1.0, 1.0, round(sample_rate_hz * chunk_s), dtype=np.float32)[None]
    dim = int(np.asarray(model.segment_vectors(model.chunk_features(ramp))).shape[1])
    name = str(getattr(model, "encoder_name", fingerprint[:12]))
    manifest = Manifest(
        encoder=fingerprint,
        encoder_name=name,
        dim=dim,
        segment_s=chunk_s * model.segment_chunks,
        hop_s=chunk_s,
    )
    return VectorIndex.create(path, manifest)
