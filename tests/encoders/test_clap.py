"""CLAP checkpoints as the two towers: the vectors of transformers, and every checkpoint that must be refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from clap_models import RATE_HZ, save_clap, some_sounds
from safetensors.torch import load_file, save_file

from encoders import DEFAULT_MODEL_DIR, ModelDirError, TextEncoder, UnknownWordsError, load_model, load_text
from encoders.clap import ClapAudio
from encoders.clap_files import DEFAULT_PROMPT, ClapCheckpoint, clap_checkpoint, is_clap, is_hub_name
from encoders.embed import embed_audio
from encoders.loading import DeferredModel
from encoders.text.clap import ClapText

ROOT = Path(__file__).parents[2]
PHRASES = ["acoustic guitar", "a dog barking in the rain", "techno", "gentle piano, played slowly at night"]
WEIGHTS = "model.safetensors"


@pytest.fixture
def copied(clap_dir: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint, to damage."""
    return Path(shutil.copytree(clap_dir, tmp_path / "clap"))


def cosines(ours: np.ndarray, theirs: Any) -> np.ndarray:
    """Row by row; both are unit vectors [shape=(n, dim)] in float32."""
    assert ours.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1.0, atol=1e-5)
    return np.sum(ours * np.asarray(theirs), axis=1)


# The vectors


@pytest.mark.parametrize("fused", [False, True])
def test_vectors_are_those_of_transformers(fused: bool, tmp_path: Path) -> None:
    from transformers import ClapModel, ClapProcessor

    save_clap(tmp_path, fused=fused, seed=3)
    reference, processor = ClapModel.from_pretrained(tmp_path).eval(), ClapProcessor.from_pretrained(tmp_path)
    tower, text = load_model(tmp_path), load_text(tmp_path)
    assert isinstance(tower, ClapAudio)
    sounds = np.stack(list(some_sounds().values()))
    with torch.inference_mode():
        theirs = []
        for sound in sounds:
            inputs = processor(audio=sound, sampling_rate=RATE_HZ, return_tensors="pt")
            inputs["is_longer"] = torch.zeros_like(inputs["is_longer"])  # true at random for a clip of 10 s
            theirs.append(reference.get_audio_features(**inputs).pooler_output[0].numpy())
        prompts = [f"This is a sound of {phrase}." for phrase in PHRASES]
        words = reference.get_text_features(**processor(text=prompts, return_tensors="pt", padding=True)).pooler_output
    assert cosines(tower.chunk_features(sounds), theirs).min() >= 0.9999
    assert cosines(text.encode(PHRASES), words).min() >= 0.9999
    spread = np.stack(theirs) @ np.stack(theirs).T
    assert spread.min() < 0.5  # so that the agreement says something


def test_a_file_of_ten_seconds_has_the_vector_of_transformers(clap_dir: Path, tmp_path: Path) -> None:
    from transformers import ClapFeatureExtractor, ClapModel

    sound = some_sounds()["sweep"]
    soundfile.write(tmp_path / "sweep.wav", sound, RATE_HZ, subtype="FLOAT")
    inputs = ClapFeatureExtractor.from_pretrained(clap_dir)(sound, sampling_rate=RATE_HZ, return_tensors="pt")
    with torch.inference_mode():
        theirs = ClapModel.from_pretrained(clap_dir).eval().get_audio_features(**inputs).pooler_output
    tower = load_model(clap_dir)
    found = embed_audio(tmp_path / "sweep.wav", model=tower)
    assert found.spans_s.tolist() == [[0.0, 10.0]]
    assert cosines(found.vectors, theirs)[0] >= 0.999
    assert isinstance(tower, ClapAudio)
    np.testing.assert_allclose(
        tower.encode_audio([tmp_path / "sweep.wav", sound]), np.repeat(theirs.numpy(), 2, 0), atol=1e-3
    )


@pytest.mark.parametrize("truncation", ["rand_trunc", "fusion"])
def test_the_log_mel_is_that_of_the_extractor(truncation: str, copied: Path) -> None:
    from transformers import ClapFeatureExtractor

    extractor = ClapFeatureExtractor(truncation=truncation)
    extractor.save_pretrained(copied)
    tower = load_model(copied)
    assert isinstance(tower, ClapAudio)
    for name, sound in some_sounds().items():
        theirs = extractor(sound, sampling_rate=RATE_HZ, return_tensors="pt")["input_features"][:, :1]
        ours = tower.log_mel(sound[None])
        assert ours.shape == theirs.shape == (1, 1, 1001, 64)
        assert float((ours - theirs).abs().max()) < 0.05, name  # dB


@pytest.mark.parametrize("fused", [False, True])
def test_a_vector_does_not_depend_on_its_batch(fused: bool, tmp_path: Path) -> None:
    save_clap(tmp_path, fused=fused)
    tower = load_model(tmp_path)
    sounds = np.stack([np.roll(sound, shift) for sound in some_sounds().values() for shift in (0, 5000)])
    together = tower.chunk_features(sounds)
    alone = np.concatenate([tower.chunk_features(sound[None]) for sound in sounds])
    assert len(together) == 10  # more than a batch
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_a_long_file_is_cut_into_segments_of_ten_seconds(clap_dir: Path, tmp_path: Path) -> None:
    sounds = np.concatenate([some_sounds()[name] for name in ("noise", "tone", "sweep")])[: 24 * RATE_HZ]
    soundfile.write(tmp_path / "long.wav", sounds, RATE_HZ, subtype="FLOAT")
    tower = load_model(clap_dir)
    found = embed_audio(tmp_path / "long.wav", model=tower)
    assert found.spans_s.tolist() == [[0.0, 10.0], [10.0, 20.0], [14.0, 24.0]]
    assert cosines(found.vectors[:2], tower.chunk_features(np.stack(np.split(sounds[: 20 * RATE_HZ], 2)))).min() > 0.999


def test_a_prompt_is_put_around_each_phrase(clap_dir: Path) -> None:
    bare, song = load_text(clap_dir, prompt="{}"), load_text(clap_dir, prompt="a song with {}")
    default = load_text(clap_dir)
    np.testing.assert_allclose(bare.encode(["a song with drums"]), song.encode(["drums"]), atol=1e-6)
    np.testing.assert_allclose(bare.encode([DEFAULT_PROMPT.format("drums")]), default.encode(["drums"]), atol=1e-6)
    assert bare.fingerprint == song.fingerprint  # an index can be searched with any prompt


@pytest.mark.parametrize("prompt", ["", "no place", "{} and {}", "a\n{}"])
def test_a_prompt_without_one_place_is_refused(clap_dir: Path, prompt: str) -> None:
    with pytest.raises(ModelDirError, match=r"must have one \{\} for the words"):
        load_text(clap_dir, prompt=prompt)


def test_a_prompt_is_not_for_a_model_of_words() -> None:
    with pytest.raises(ModelDirError, match="a prompt is for CLAP models"):
        load_text(DEFAULT_MODEL_DIR, prompt="{}")


def test_phrases(clap_dir: Path) -> None:
    text = load_text(clap_dir)
    assert isinstance(text, ClapText)
    assert text.encode([]).shape == (0, 16)
    np.testing.assert_allclose(text.encode(["rain", "techno", "rain"]), text.encode(["rain", "techno", "rain"]))
    np.testing.assert_allclose(text.encode([" rain "]), text.encode(["rain"]), atol=1e-5)
    assert np.isfinite(text.encode(["\udcff", "\N{GUITAR}", "雨の音"])).all()
    assert text.unknown_words("xyzzy") == []
    assert not text.left_out("xyzzy")
    assert text.tag_names() == TextEncoder.load().tag_names()
    assert text.calibration is None
    with pytest.raises(UnknownWordsError, match="there is no word"):
        text.encode(["rain", "  "])
    with pytest.raises(UnknownWordsError, match=r"'drums drums .* tokens with the prompt, .* reads 64: short"):
        text.encode(["drums " * 200])


# Identity


def test_text_audio_and_index_build_agree_on_the_fingerprint(clap_dir: Path) -> None:
    deferred, tower, text = DeferredModel(clap_dir), load_model(clap_dir), load_text(clap_dir)
    assert deferred.fingerprint == tower.fingerprint == text.fingerprint
    assert (deferred.sample_rate_hz, deferred.chunk_s, deferred.segment_chunks) == (48_000, 10.0, 1)
    assert (tower.sample_rate_hz, tower.chunk_s, tower.segment_chunks) == (48_000, 10.0, 1)
    assert deferred.encoder_name == "tiny-clap"
    assert not deferred.is_loaded
    chunk = some_sounds()["noise"][None]
    np.testing.assert_allclose(deferred.chunk_features(chunk), tower.chunk_features(chunk), atol=1e-5)
    assert deferred.is_loaded


@pytest.mark.parametrize("name", [WEIGHTS, "tokenizer.json", "preprocessor_config.json", "config.json"])
def test_the_fingerprint_follows_the_content_and_not_size_and_time(copied: Path, name: str) -> None:
    before, status = ClapCheckpoint.read(copied), (copied / name).stat()
    content = bytearray((copied / name).read_bytes())
    content[-1 if name == WEIGHTS else content.rindex(b"\n")] ^= 1 if name == WEIGHTS else 0x2A  # newline to space
    (copied / name).write_bytes(content)
    os.utime(copied / name, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert ClapCheckpoint.read(copied).fingerprint != before.fingerprint


def test_the_fingerprint_is_that_of_the_content_alone(clap_dir: Path, copied: Path) -> None:
    (copied / "README.md").write_text("no part of the model")
    assert ClapCheckpoint.read(copied).fingerprint == ClapCheckpoint.read(clap_dir).fingerprint


def test_a_model_that_is_replaced_before_it_is_loaded_is_refused(copied: Path) -> None:
    text = load_text(copied)
    tensors = load_file(copied / WEIGHTS)
    tensors["text_projection.linear2.bias"] += 1
    save_file(tensors, copied / WEIGHTS)
    with pytest.raises(ModelDirError, match="was replaced meanwhile: run the command again"):
        text.encode(["rain"])


def test_nothing_heavy_is_imported_before_the_first_phrase(clap_dir: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from encoders.loading import load_text, DeferredModel\n"
        f"load_text(Path({str(clap_dir)!r})); DeferredModel(Path({str(clap_dir)!r}))\n"
        "print(sorted({'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


# Other forms of the files


def test_a_pickle_with_tensors_is_read_without_running_it(clap_dir: Path, copied: Path) -> None:
    torch.save(load_file(copied / WEIGHTS), copied / "pytorch_model.bin")
    (copied / WEIGHTS).unlink()
    np.testing.assert_allclose(load_text(copied).encode(PHRASES), load_text(clap_dir).encode(PHRASES), atol=1e-5)
    trace = copied / "executed"
    (copied / "pytorch_model.bin").write_bytes(f"cos\nmkdir\n(V{trace}\ntR.".encode())
    with pytest.raises(ModelDirError, match="cannot be loaded"):
        load_text(copied).encode(PHRASES)
    assert not trace.exists()


def test_a_config_with_fields_of_older_versions(clap_dir: Path, copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    config["text_config"] |= {"classifier_dropout": None, "fusion_hidden_size": 768, "initializer_range": 0.02}
    config["audio_config"] |= {"fusion_num_hidden_layers": 2, "projection_hidden_size": 768}
    config |= {
        "_name_or_path": "laion/clap-htsat-unfused",
        "transformers_version": "4.36.0.dev0",
        "torch_dtype": "float16",
    }
    del config["dtype"]
    (copied / "config.json").write_text(json.dumps(config))
    found = load_text(copied).encode(PHRASES)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, load_text(clap_dir).encode(PHRASES), atol=1e-5)


def test_weights_in_several_files(clap_dir: Path, copied: Path) -> None:
    from transformers import ClapModel

    model = ClapModel.from_pretrained(copied)
    (copied / WEIGHTS).unlink()
    model.save_pretrained(copied, max_shard_size="100KB")
    assert len(list(copied.glob("model-*.safetensors"))) > 1
    np.testing.assert_allclose(load_text(copied).encode(PHRASES), load_text(clap_dir).encode(PHRASES), atol=1e-5)
    next(iter(sorted(copied.glob("model-*.safetensors")))).unlink()
    with pytest.raises(ModelDirError, match=r"model-.*safetensors cannot be read \(No such file"):
        load_text(copied)


def test_shards_outside_of_the_folder_are_refused(copied: Path) -> None:
    (copied / WEIGHTS).unlink()
    (copied / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": {"a": "../secret.safetensors"}}))
    with pytest.raises(ModelDirError, match="names files outside of its folder"):
        load_text(copied)


def test_the_files_of_a_saved_processor(clap_dir: Path, copied: Path) -> None:
    from transformers import ClapProcessor

    processor = ClapProcessor.from_pretrained(copied)
    (copied / "preprocessor_config.json").unlink()
    processor.save_pretrained(copied)
    assert (copied / "processor_config.json").exists()
    chunk = some_sounds()["clicks"][None]
    assert load_model(copied).fingerprint != load_model(clap_dir).fingerprint
    np.testing.assert_allclose(
        load_model(copied).chunk_features(chunk), load_model(clap_dir).chunk_features(chunk), atol=1e-5
    )


# Broken checkpoints


Tensors = dict[str, torch.Tensor]


def collapsed_text(tensors: Tensors) -> None:
    """As in a published file: the text projection is near zero, so that its bias alone remains."""
    tensors["text_projection.linear2.weight"].mul_(1e-4)
    tensors["text_projection.linear2.bias"].fill_(1.0)


def collapsed_audio(tensors: Tensors) -> None:
    tensors["audio_projection.linear2.weight"].mul_(1e-4)
    tensors["audio_projection.linear2.bias"].fill_(1.0)


def nan_in_text(tensors: Tensors) -> None:
    tensors["text_model.pooler.dense.bias"][0] = float("nan")


def nan_in_audio(tensors: Tensors) -> None:
    tensors["audio_model.audio_encoder.norm.bias"][0] = float("nan")


def missing(tensors: Tensors) -> None:
    del tensors["text_projection.linear1.weight"], tensors["text_projection.linear1.bias"]


def unexpected(tensors: Tensors) -> None:
    tensors["text_model.adapter.weight"] = torch.zeros(2)


def another_shape(tensors: Tensors) -> None:
    tensors["text_projection.linear2.bias"] = torch.zeros(17)


@pytest.mark.parametrize(
    ("damage", "message", "in_audio_only"),
    [
        (collapsed_text, r"no difference between phrases: 5 unlike ones have a mean cosine of 1\.0000", False),
        (collapsed_audio, "no difference between noise, a tone and silence", True),
        (nan_in_text, "the text tower of the CLAP model in .* gives NaN", False),
        (nan_in_audio, "the audio tower of the CLAP model in .* gives NaN", True),
        (missing, r"lack text_projection\.linear1\.bias and 1 more: download them again", False),
        (unexpected, r"have, beside those of a ClapModel, text_model\.adapter\.weight: download", False),
        (another_shape, r"cannot be loaded \(.*download it again", False),
    ],
)
def test_a_broken_checkpoint_is_refused(
    copied: Path, damage: Callable[[Tensors], None], message: str, in_audio_only: bool
) -> None:
    tensors = load_file(copied / WEIGHTS)
    damage(tensors)
    save_file(tensors, copied / WEIGHTS)
    # An index is not built, whichever tower is broken; a query does not read the audio tower.
    with pytest.raises(ModelDirError, match=message):
        load_model(copied)
    if not in_audio_only:
        with pytest.raises(ModelDirError, match=message):
            load_text(copied).encode(["rain"])


def test_tables_that_the_network_computes_may_be_missing(clap_dir: Path, copied: Path) -> None:
    tensors = load_file(copied / WEIGHTS)
    tables = [name for name in tensors if name.endswith(("position_ids", "token_type_ids", "relative_position_index"))]
    assert len(tables) == 4
    save_file({name: tensor for name, tensor in tensors.items() if name not in tables}, copied / WEIGHTS)
    chunk = some_sounds()["clicks"][None]
    np.testing.assert_allclose(load_text(copied).encode(PHRASES), load_text(clap_dir).encode(PHRASES), atol=1e-5)
    np.testing.assert_allclose(
        load_model(copied).chunk_features(chunk), load_model(clap_dir).chunk_features(chunk), atol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (WEIGHTS, b"no tensors", r"cannot be loaded \("),
        (WEIGHTS, None, "has no weights: copy model.safetensors"),
        ("preprocessor_config.json", None, "lacks preprocessor_config.json"),
        ("preprocessor_config.json", b"{", "cannot be read"),
        ("preprocessor_config.json", b'{"sampling_rate": 0}', "sampling_rate cannot be 0"),
        ("preprocessor_config.json", b'{"feature_extractor_type": "X"}', "not that of a ClapFeatureExtractor"),
        ("config.json", b'{"model_type": "clap_text_model"}', "holds one tower of CLAP"),
    ],
)
def test_a_damaged_file_is_named(copied: Path, name: str, content: bytes | None, message: str) -> None:
    (copied / name).unlink()
    if content is not None:
        (copied / name).write_bytes(content)
    with pytest.raises(ModelDirError, match=message):
        load_model(copied)


def test_without_a_tokenizer(copied: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"):
        (copied / name).unlink()
    with pytest.raises(ModelDirError, match=f"the CLAP model in {copied} .*"):
        load_text(copied).encode(["rain"])


# Names on the hub


def test_what_is_a_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    assert is_hub_name(Path("laion/clap-htsat-unfused"))
    for path in ("runs/mine", "laion", "a/b/c", "../laion/x", "/laion/x", str(tmp_path / "x"), "a b/c"):
        assert not is_hub_name(Path(path)), path
    assert not is_clap(Path("runs/mine"))
    with pytest.raises(ModelDirError, match="no model directory at runs/mine"):
        load_text(Path("runs/mine"))


REVISION = "0123456789" * 4


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A hub on this machine: a folder OWNER/NAME in the folder given is a model. The cache is beside it."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    served = tmp_path / "served"

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def _answer(self) -> None:
            _, *parts = self.path.split("?")[0].split("/")
            if parts[:2] == ["api", "models"] and (served / parts[2] / parts[3]).is_dir():
                names = [path.name for path in (served / parts[2] / parts[3]).iterdir()]
                siblings = [{"rfilename": name} for name in names]
                values: Any = {"id": f"{parts[2]}/{parts[3]}", "sha": REVISION, "siblings": siblings}
                if parts[4:5] == ["tree"]:
                    values = [{"type": "file", "path": name, "size": 1, "oid": "0"} for name in names]
                self._send(200, json.dumps(values).encode(), "application/json")
            elif parts[2:3] == ["resolve"] and (served / parts[0] / parts[1] / parts[-1]).is_file():
                self._send(200, (served / parts[0] / parts[1] / parts[-1]).read_bytes(), "application/octet-stream")
            else:
                print("not found:", self.command, self.path)
                self._send(404, b"{}", "application/json")

        def _send(self, status: int, content: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", REVISION)
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    files = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", files)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    served.mkdir()
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("is_safe", [True, False])
def test_a_name_is_fetched_once_and_only_what_is_read(hub: Path, clap_dir: Path, is_safe: bool) -> None:
    model = Path(shutil.copytree(clap_dir, hub / "someone" / "tiny"))
    torch.save(load_file(model / WEIGHTS), model / "pytorch_model.bin")
    (model / "README.md").write_text("not read")
    if not is_safe:
        (model / WEIGHTS).unlink()
    found = clap_checkpoint(Path("someone/tiny"))
    assert found is not None
    assert found.weights == ((WEIGHTS,) if is_safe else ("pytorch_model.bin",))
    unread = {"README.md", "pytorch_model.bin"} if is_safe else {"README.md"}
    assert {path.name for path in found.folder.iterdir()} == {path.name for path in model.iterdir()} - unread
    assert found.name == "someone/tiny"
    shutil.rmtree(hub / "someone")  # the hub knows it no more
    again = clap_checkpoint(Path("someone/tiny"))
    assert again is not None
    assert again.fingerprint == found.fingerprint
    np.testing.assert_allclose(
        load_text(Path("someone/tiny")).encode(PHRASES), load_text(clap_dir).encode(PHRASES), atol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("someone/nothing", "no model of this name could be fetched"),
        ("someone/bert", "is of type 'bert': give a ClapModel"),
        ("someone/data", "is no model of transformers: give a ClapModel"),
        ("someone/half", r"has no model\.safetensors and no pytorch_model\.bin: give another model"),
    ],
)
def test_a_name_of_another_kind_is_refused_before_its_weights_are_fetched(hub: Path, name: str, message: str) -> None:
    for folder, config in (("bert", '{"model_type": "bert"}'), ("data", None), ("half", '{"model_type": "clap"}')):
        (hub / "someone" / folder).mkdir(parents=True)
        (hub / "someone" / folder / "README.md").write_text("text")
        if config is not None:
            (hub / "someone" / folder / "config.json").write_text(config)
    with pytest.raises(ModelDirError, match=message):
        load_text(Path(name))


def test_a_name_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelDirError) as error:
        load_text(Path("laion/clap-htsat-unfused"))
    message = str(error.value)
    assert message.startswith(
        "there is no folder 'laion/clap-htsat-unfused', and no model of this name could be fetched"
    )
    assert "run `hf download laion/clap-htsat-unfused --local-dir DIR` where there is a network" in message
    assert "\n" not in message


def test_a_name_in_the_cache_needs_no_network(clap_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    revision = "0" * 40
    repository = tmp_path / "models--someone--tiny"
    shutil.copytree(clap_dir, repository / "snapshots" / revision)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = clap_checkpoint(Path("someone/tiny"))
    assert found is not None
    assert (found.name, found.fingerprint) == ("someone/tiny", ClapCheckpoint.read(clap_dir).fingerprint)
    np.testing.assert_allclose(load_text(Path("someone/tiny")).encode(["rain"]), load_text(clap_dir).encode(["rain"]))
