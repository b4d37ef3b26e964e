from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.api import names
from tritonfleet.api.resources import BY_KIND

OWNERS = st.from_regex(r"\A[a-z]([-a-z0-9]{0,50}[a-z0-9])?\Z")


@given(OWNERS, st.from_regex(r"\A[0-9a-f]{10}\Z"))
def test_the_name_of_a_revision_fits_a_service(owner, revision):
    assert len(names.revision_name(owner, revision)) <= 63


@given(OWNERS, st.from_regex(r"\A[0-9a-f]{10}\Z"))
def test_the_pods_of_a_revision_carry_what_it_selects_them_by(owner, revision):
    labels = names.revision_labels(owner, revision)
    assert names.serving_selector(owner, revision).items() <= labels.items()
    assert names.owner_labels(owner).items() <= labels.items()


def test_a_child_has_a_controller_reference_that_does_not_block_deletion():
    assert names.owner_reference({"name": "recommender", "uid": "u-1"}) == {
        "apiVersion": "tritonfleet.dev/v1alpha1",
        "kind": "ModelDeployment",
        "name": "recommender",
        "uid": "u-1",
        "controller": True,
        "blockOwnerDeletion": False,
    }


def test_every_kind_knows_its_address():
    assert BY_KIND["Pod"].path("shop", "a") == "/api/v1/namespaces/shop/pods/a"
    assert BY_KIND["Deployment"].path("shop") == "/apis/apps/v1/namespaces/shop/deployments"
    assert BY_KIND["ModelDeployment"].path() == "/apis/tritonfleet.dev/v1alpha1/modeldeployments"
    assert BY_KIND["Node"].path("shop", "node-0") == "/api/v1/nodes/node-0"
