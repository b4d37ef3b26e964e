"""`spec.model`: the model and its files."""

from typing import Annotated, ClassVar

from pydantic import Field

from tritonfleet.api.base import ApiModel, ObjectName, Rule, items, mapping, matching, rule, text
from tritonfleet.api.execution import Histogram, Optimization, WarmupSample
from tritonfleet.api.tensors import FILE_NAME, ModelInput, ModelOutput

# On the model and not on the text: a text is quoted by the API server whenever a rule of its own refuses it, with the
# password that may be in it. A message with a line break would be dropped.
_SHOWN = "self.uri.find('^[^@?#\\\\pC]+$')"


def _uri_rule(expression: str, must: str) -> Rule:
    return rule(expression, must, got=_SHOWN, at=".uri")


_URI_RULES = (
    _uri_rule(
        "self.uri.matches('^(s3|gs|az|hf|oci|mlflow|https|pvc)://')",
        "must start with one of the supported schemes s3://, gs://, az://, hf://, oci://, mlflow://, https:// or pvc://",
    ),
    _uri_rule(
        "!self.uri.matches('(^|/)[.][.]?(/|$)')",
        "must not contain a '.' or '..' path segment: write the folder it stands for",
    ),
    _uri_rule(
        "!self.uri.matches('://.*//')",
        "must not contain an empty path segment: write one '/' between folders",
    ),
    _uri_rule(
        "!self.uri.matches('%(2[eEfF5]|5[cC]|00)')",
        "must not percent-encode dots, slashes, backslashes or percent signs: write the path plainly",
    ),
    _uri_rule(
        r"!self.uri.matches('[\\\\\\s[:cntrl:]]')",
        "must not contain a backslash, white space or a control character: separate folders with '/'",
    ),
    rule(
        "!self.uri.matches('^[^/]*//[^/]*@')",
        "must not carry a user name or password: put credentials into a Secret and name it in `credentialsSecretName`",
        at=".uri",
    ),
    rule(
        "!self.uri.matches('[?#]')",
        "must not have a query or a fragment: put credentials into a Secret and name it in `credentialsSecretName`",
        at=".uri",
    ),
    _uri_rule(
        "!self.uri.startsWith('pvc://') || self.uri.matches('^pvc://[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(/|$)')",
        "must name a PersistentVolumeClaim after pvc://, in lowercase letters, digits, '-' and '.'",
    ),
    _uri_rule(
        "!self.uri.startsWith('s3://') || self.uri.matches('^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/|$)')",
        "must name a bucket after s3://, 3 to 63 lowercase letters, digits, '-' and '.'",
    ),
    _uri_rule(
        "!self.uri.startsWith('gs://') || self.uri.matches('^gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/|$)')",
        "must name a bucket after gs://, 3 to 222 lowercase letters, digits, '-', '_' and '.'",
    ),
    _uri_rule(
        "!self.uri.startsWith('az://') || self.uri.matches('^az://[a-z0-9]{3,24}/[a-z0-9-]{3,63}(/|$)')",
        "must name a storage account and a container, such as az://account/container/folder",
    ),
    _uri_rule(
        "!self.uri.startsWith('hf://') || self.uri.matches("
        "'^hf://[a-zA-Z0-9][a-zA-Z0-9._-]{0,95}/[a-zA-Z0-9][a-zA-Z0-9._-]{0,95}(@[a-zA-Z0-9_][a-zA-Z0-9._-]*)?(/|$)')",
        "must name an organization and a model, and may name a branch, tag or commit, such as hf://org/model@v1",
    ),
    _uri_rule(
        "!self.uri.startsWith('oci://') || self.uri.matches('^oci://[a-zA-Z0-9.-]+(:[0-9]+)?"
        "(/[a-z0-9]+([._-]+[a-z0-9]+)*)+(:[a-zA-Z0-9_.-]+|@sha256:[a-f0-9]{64})?$')",
        "must name a registry and a repository, and may name a tag or a digest, such as oci://ghcr.io/org/model:v1",
    ),
    _uri_rule(
        r"!self.uri.startsWith('mlflow://') || self.uri.matches('^mlflow://models:/[^/:@%]+(@[a-zA-Z0-9_-]+|/[1-9][0-9]{0,18})$')",
        "must name a model of MLflow's registry with an alias or a version, such as mlflow://models:/name@champion",
    ),
    _uri_rule(
        "!self.uri.startsWith('https://') || self.uri.matches('^https://[a-zA-Z0-9.-]+(:[0-9]{1,5})?/[^/](.*[^/])?$')"
        " || self.uri.matches('^https://[a-z0-9]{3,24}[.]blob[.]core[.]windows[.]net/[^/]+/')",
        "must name a host and a path after https:// that does not end in '/' unless it is a folder of Azure, such as https://example.com/m.tar.gz",
    ),
)


ModelName = Annotated[
    str,
    matching(
        128,
        r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
        "must hold only letters, digits, '_', '.' and '-', and not start with '.' or '-'",
    ),
]
"""The name of a model in Triton, which is also the name of its folder."""

Digest = Annotated[
    str,
    matching(
        71,
        r"^sha256:[a-f0-9]{64}$",
        "must be 'sha256:' and 64 lowercase hexadecimal digits",
    ),
]
"""The digest of a model's content."""

Backend = Annotated[
    str,
    matching(64, r"^[a-z0-9_]+$", "must be the name of a Triton backend, such as onnxruntime or python"),
]
"""The name of a Triton backend."""


class VersionPolicy(ApiModel):
    """Which of the model's version folders are served; exactly one of the fields."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "[has(self.latest), has(self.specific), has(self.all)].filter(x, x).size() == 1",
            "must set exactly one of `latest`, `specific` and `all`",
        ),
        rule("!has(self.all) || self.all", "must be true or absent", got="self.all", at=".all"),
    )

    latest: Annotated[int, Field(ge=1, le=100)] | None = None
    """Serve this many of the highest versions."""
    specific: (
        Annotated[
            tuple[Annotated[int, Field(ge=1, le=2**53, description="Number of a version folder.")], ...],
            Field(min_length=1),
            items(100, list_type="set"),
        ]
        | None
    ) = None
    """Serve exactly these versions."""
    all: bool | None = None
    """Serve every version; `true` is the only value."""


class Model(ApiModel):
    """The model, its files, and its configuration in Triton."""

    rules: ClassVar[tuple[Rule, ...]] = _URI_RULES

    name: ModelName | None = None
    """Name of the model in Triton, used by clients; absent: the object's name. Immutable."""
    uri: Annotated[str, text(1024)]
    """URI of the files: `s3://bucket/path`, `gs://bucket/path`, `az://account/container/path`,
    `hf://organization/model@revision`, `oci://registry/repository:tag`,
    `mlflow://models:/name@alias`, `https://host/path` or `pvc://claim/path`.

    A Triton model folder (with version folders), or bare model files, which become version 1."""
    digest: Digest | None = None
    """Expected digest; files of a claim are copied to hold to it. Absent: the digest is recorded per revision."""
    credentials_secret_name: ObjectName | None = None
    """Secret whose keys become environment variables of the fetch step only.

    Absent: a bucket or container is read with the workload identity of `server.serviceAccountName`, or anonymously."""
    backend: Backend | None = None
    """Triton backend, such as onnxruntime, pytorch, tensorrt, openvino, python; absent: inferred."""
    default_model_filename: (
        Annotated[str, matching(255, FILE_NAME, "must be the name of a file, without a path")] | None
    ) = None
    """File of each version that is the model; absent: the backend's usual one, such as model.onnx."""
    version_policy: VersionPolicy | None = None
    """Versions to serve; Triton's default is the latest."""
    inputs: Annotated[tuple[ModelInput, ...], items(256, key="name")] = ()
    """Input tensors; Triton reads them from the model file where the backend can."""
    outputs: Annotated[tuple[ModelOutput, ...], items(256, key="name")] = ()
    """Output tensors; Triton reads them from the model file where the backend can."""
    parameters: Annotated[
        dict[str, Annotated[str, text(4096, min_length=0, description="Value of the parameter.")]],
        mapping(
            64,
            rule(
                "self.all(key, size(key) >= 1 && size(key) <= 256)",
                "must have keys of 1 to 256 characters",
            ),
        ),
    ] = Field(default_factory=dict)
    """Parameters passed to the backend as strings."""
    decoupled: bool = False
    """Whether a request can have any number of responses (gRPC streaming only)."""
    warmup: Annotated[tuple[WarmupSample, ...], items(32, key="name")] = ()
    """Requests that Triton executes before it reports the model ready."""
    optimization: Optimization | None = None
    """How Triton and the backend execute the model."""
    metrics: Annotated[tuple[Histogram, ...], items(16, key="family")] = ()
    """Buckets of the model's latency histograms, from Triton 24.11."""
    metric_tags: Annotated[
        dict[str, Annotated[str, text(256, min_length=0, description="Value of the label.")]],
        mapping(
            16,
            rule(
                "self.all(key, key.matches('^[A-Za-z0-9][A-Za-z0-9_]*$'))",
                "must have keys of letters, digits and '_', not beginning with '_': Triton ends with any other",
            ),
        ),
    ] = Field(default_factory=dict)
    """Labels of the model's metrics; Triton puts a '_' before each."""
