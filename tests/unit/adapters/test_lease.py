"""Who may lead is decided from what was seen and for how long, never from another machine's clock."""

from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.adapters.lease import Elector, Move, Sighting, Timing, decide
from tritonfleet.errors import Conflict, Transient
from tritonfleet.plan.world import Manifest


def test_where_there_is_no_lease_it_is_created():
    assert decide(None, "me", 0.0) is Move.CREATE


def test_ones_own_lease_is_renewed():
    assert decide(Sighting({"holderIdentity": "me"}, 0.0), "me", 1e6) is Move.RENEW


def test_a_released_lease_is_taken_at_once():
    assert decide(Sighting({"holderIdentity": "", "leaseDurationSeconds": 15}, 0.0), "me", 0.0) is Move.TAKE


@given(seen=st.floats(0, 1e6), waited=st.floats(0, 100), duration=st.integers(1, 60), written=st.text(max_size=30))
def test_a_strangers_lease_is_taken_only_after_it_stood_still_for_its_whole_duration(seen, waited, duration, written):
    spec = {"holderIdentity": "other", "leaseDurationSeconds": duration, "renewTime": written}
    move = decide(Sighting(spec, seen), "me", seen + waited)
    assert move is (Move.TAKE if (seen + waited) - seen >= duration else Move.WAIT)


class LeaseStore:
    """One Lease, kept with the API server's rule that a replacement must name the version it replaces."""

    def __init__(self):
        self.versions = []
        self.broken = False

    @property
    def spec(self):
        return self.versions[-1]["spec"]

    async def get(self, kind: str, namespace: str | None, name: str) -> Manifest | None:
        assert (kind, namespace, name) == ("Lease", "ns", "lease")
        if self.broken:
            raise Transient("no connection")
        return self.versions[-1] if self.versions else None

    async def create(self, manifest: Manifest) -> Manifest:
        if self.versions:
            raise Conflict("exists")
        return self._keep(manifest)

    async def replace(self, manifest: Manifest) -> Manifest:
        if self.broken:
            raise Transient("no connection")
        if int(manifest["metadata"]["resourceVersion"]) != len(self.versions):
            raise Conflict("modified")
        return self._keep(manifest)

    def _keep(self, manifest: Manifest) -> Manifest:
        metadata = manifest["metadata"] | {"resourceVersion": str(len(self.versions) + 1)}
        self.versions.append({**manifest, "metadata": metadata})
        return self.versions[-1]


async def test_only_one_of_many_who_try_at_once_leads():
    store = LeaseStore()
    electors = [Elector(store, "ns", "lease", f"candidate-{number}") for number in range(5)]
    outcomes = [await elector._attempt() for elector in electors for _ in range(3)]
    assert sum(any(outcomes[3 * number : 3 * number + 3]) for number in range(5)) == 1


async def test_a_lease_that_is_taken_over_counts_one_more_transition_and_a_renewed_one_does_not():
    store, clock = LeaseStore(), [0.0]
    first = Elector(store, "ns", "lease", "first", clock=lambda: clock[0])
    second = Elector(store, "ns", "lease", "second", clock=lambda: clock[0])
    assert await first._attempt()
    assert await first._attempt()
    assert store.spec["leaseTransitions"] == 0
    assert not await second._attempt()
    clock[0] = Timing().duration_seconds
    assert await second._attempt()
    assert (store.spec["holderIdentity"], store.spec["leaseTransitions"]) == ("second", 1)
    assert not await first._attempt()


async def test_released_it_is_free_at_once_and_a_follower_releases_nothing():
    store = LeaseStore()
    leader, follower = (Elector(store, "ns", "lease", name) for name in ("leader", "follower"))
    await leader.acquire()
    await follower.release()
    assert store.spec["holderIdentity"] == "leader"
    await leader.release()
    assert store.spec["holderIdentity"] == ""
    await follower.acquire()
    assert store.spec["holderIdentity"] == "follower"


async def test_a_release_that_fails_raises_nothing():
    store = LeaseStore()
    leader = Elector(store, "ns", "lease", "leader")
    await leader.acquire()
    store.broken = True
    await leader.release()
    assert not leader.leads
