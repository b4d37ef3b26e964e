"""What the API server's audit log comes to."""

import json

from benchmarks.fleet.audit import AuditLog


def line(verb, resource, name, subresource=None):
    target = {"resource": resource, "name": name} | ({"subresource": subresource} if subresource else {})
    return json.dumps({"verb": verb, "objectRef": target}) + "\n"


def test_requests_are_added_up_by_method_and_kind_and_by_modeldeployment(tmp_path):
    log = tmp_path / "audit.log"
    log.write_text(
        line("patch", "deployments", "m0001-0123456789")
        + line("patch", "modeldeployments", "m0001", "status")
        + line("create", "events", "m0001.17a")
        + line("patch", "services", "m0002")
        + line("watch", "pods", "")
        + json.dumps({"verb": "get"})
        + "\n"
    )
    tally = AuditLog(log).tally()
    assert tally.by_method_and_kind == {
        ("PATCH", "Deployment"): 1,
        ("PATCH", "ModelDeployment"): 1,
        ("POST", "Event"): 1,
        ("PATCH", "Service"): 1,
    }
    assert tally.most_of(["m0001", "m0002"]) == 3
    assert tally.most_of(["m0003"]) == 0


def test_every_tally_covers_what_came_since_the_last_and_leaves_half_a_line_for_the_next(tmp_path):
    log = tmp_path / "audit.log"
    whole = line("update", "leases", "operator")
    log.write_text(whole + whole[:10])
    audit = AuditLog(log)
    assert sum(audit.tally().by_method_and_kind.values()) == 1
    with log.open("a") as more:
        more.write(whole[10:])
    assert sum(audit.tally().by_method_and_kind.values()) == 1


def test_the_lease_and_reads_are_no_writes(tmp_path):
    log = tmp_path / "audit.log"
    log.write_text(
        line("update", "leases", "operator") + line("list", "pods", "") + line("delete", "services", "m0001")
    )
    assert AuditLog(log).tally().writes == 1
