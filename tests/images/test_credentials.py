"""Content credentials: files signed here, and a reader at the boundary that says what a hostile file might."""

import datetime
import io
import json
import sys
import types

import pytest
from PIL import Image

from lae_tf.errors import MissingExtraError
from lae_tf.images.credentials import Credentials, read_credentials

SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED = {"action": "c2pa.created", "digitalSourceType": f"{SOURCES}trainedAlgorithmicMedia"}
CAPTURED = {"action": "c2pa.created", "digitalSourceType": f"{SOURCES}digitalCapture"}


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("RGB", (64, 48), (90, 20, 30)).save(path)
    return path


# --- real ones --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def signer():
    """Sign as an organisation with a certificate of this hour: a program that nobody should trust."""
    c2pa = pytest.importorskip("c2pa")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.datetime.now(datetime.timezone.utc)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("Test root", "Test newsroom")}

    def certificate(name):
        is_root = name == "Test root"
        names = [x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, one)]) for one in (name, "Test root")]
        uses = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
        )
        signing = {"digital_signature": not is_root, "key_cert_sign": is_root, "crl_sign": is_root}
        issuer_key = keys["Test root"].public_key()
        builder = (
            x509.CertificateBuilder(*reversed(names), keys[name].public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(is_root, None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
            .add_extension(x509.KeyUsage(**uses, **signing, decipher_only=False), critical=True)
        )
        if not is_root:
            use = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(use, critical=False)
        return builder.sign(keys["Test root"], hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    private = keys["Test newsroom"].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain = certificate("Test newsroom") + certificate("Test root")
    return c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", chain, private, None))


@pytest.fixture
def sign(signer, picture):
    import c2pa

    def write(*actions):
        assertion = {"label": "c2pa.actions.v2", "data": {"actions": list(actions)}}
        generator = [{"name": "test", "version": "1"}]
        signed = io.BytesIO()
        with c2pa.Builder({"claim_generator_info": generator, "title": "a", "assertions": [assertion]}) as builder:
            builder.sign(signer, "image/jpeg", io.BytesIO(picture.read_bytes()), signed)
        picture.write_bytes(signed.getvalue())
        return str(picture)

    return write


def test_a_generated_and_an_edited_picture(sign):
    said = {"present": True, "valid": True, "issuer": "Test newsroom"}
    assert read_credentials(sign(GENERATED)) == Credentials(generated=True, edited=False, **said)
    path = sign(CAPTURED, {"action": "c2pa.cropped"}, {"action": "c2pa.published"})
    assert read_credentials(path) == Credentials(generated=False, edited=True, **said)


def test_a_picture_that_was_changed_after_it_was_signed(sign, picture):
    content = bytearray((sign(GENERATED), picture.read_bytes())[1])
    content[-30] ^= 1
    picture.write_bytes(content)
    found = read_credentials(str(picture))
    assert found.present and found.valid is False and found.generated


def test_pictures_without(picture, tmp_path):
    pytest.importorskip("c2pa")
    Image.new("RGB", (9, 9)).save(tmp_path / "a.bmp")
    for path in (picture, tmp_path / "a.bmp"):
        assert read_credentials(str(path)) == Credentials(present=False)


# --- the boundary -----------------------------------------------------------------------------------------


@pytest.fixture
def says(monkeypatch):
    """Put a reader in the package's place, which says, or raises, what it is told to."""
    module = types.ModuleType("c2pa")

    class C2paError(Exception):
        class NotSupported(Exception):
            pass

    class Reader:
        answer = None

        @classmethod
        def try_create(cls, stream, context):
            assert context["verify"] == {"remote_manifest_fetch": False, "ocsp_fetch": False}
            if isinstance(cls.answer, Exception):
                raise cls.answer
            return cls() if cls.answer else None

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def json(self):
            return json.dumps(self.answer)

        def get_validation_state(self):
            return "Trusted"

    module.C2paError, module.Reader = C2paError, Reader
    module.Context = types.SimpleNamespace(from_dict=lambda settings: settings)
    monkeypatch.setitem(sys.modules, "c2pa", module)
    monkeypatch.setattr("lae_tf.images.credentials.credentials_readable", lambda: True)
    monkeypatch.setattr("lae_tf.cli.predict.credentials_readable", lambda: True)
    return lambda answer: setattr(Reader, "answer", answer) or module


def manifest(*actions, parent=None, relationship="parentOf"):
    parts = [{"relationship": relationship, "active_manifest": parent}] if parent else []
    return {"assertions": [{"label": "c2pa.actions", "data": {"actions": actions}}], "ingredients": parts}


@pytest.mark.parametrize("relationship, generated", [("parentOf", True), ("componentOf", False)])
def test_what_it_was_made_from_counts_and_what_was_put_in_does_not(says, picture, relationship, generated):
    opened = manifest({"action": "c2pa.opened"}, parent="old", relationship=relationship)
    says({"active_manifest": "new", "manifests": {"new": opened, "old": manifest(GENERATED, parent="new")}})
    found = read_credentials(str(picture))
    assert (found.valid, found.generated, found.edited, found.issuer) == (True, generated, False, None)


def test_none_and_damaged_ones(says, picture):
    module = says(None)
    assert read_credentials(str(picture)) == Credentials(present=False)
    says(module.C2paError.NotSupported("bmp"))
    assert read_credentials(str(picture)) == Credentials(present=False)
    says(module.C2paError("bad box"))
    assert read_credentials(str(picture)) == Credentials(present=True, valid=False)


def test_without_the_extra(monkeypatch, picture):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(MissingExtraError, match="content credentials needs the extra 'c2pa'"):
        read_credentials(str(picture))


# --- the command ------------------------------------------------------------------------------------------


def test_the_command_shows_them(says, trained_run, picture, tmp_path, lae_tf_command):
    signed = {**manifest(GENERATED), "signature_info": {"issuer": "News\x1b[2J"}}
    says({"active_manifest": "a", "manifests": {"a": signed}})
    code, out, err = lae_tf_command("predict", trained_run.path, picture, "--csv", tmp_path / "a.csv")
    assert code == 0, err
    assert out.rstrip().endswith("a.jpg  [credentials: valid, generated, signed by News\\x1b[2J]")
    assert "valid, generated, signed by News" in (tmp_path / "a.csv").read_text()
    _, out, _ = lae_tf_command("predict", trained_run.path, picture, "--json")
    assert json.loads(out)["credentials"] == {
        "present": True,
        "valid": True,
        "generated": True,
        "edited": False,
        "issuer": "News\x1b[2J",
    }
    _, out, _ = lae_tf_command("predict", trained_run.path, picture, "--json", "--no-credentials")
    assert "credentials" not in json.loads(out)


def test_the_command_says_what_to_install(monkeypatch, trained_run, picture, lae_tf_command):
    monkeypatch.setattr("lae_tf.cli.predict.credentials_readable", lambda: False)
    code, _, err = lae_tf_command("predict", trained_run.path, picture, "--credentials")
    assert code == 1 and "--credentials needs the extra 'c2pa'" in err
    code, out, _ = lae_tf_command("predict", trained_run.path, picture, "--json")
    assert code == 0 and "credentials" not in json.loads(out)
