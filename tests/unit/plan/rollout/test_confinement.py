"""A user's query sees one namespace and one revision, whatever it says."""

import promql_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.rollout import confine

REVISION = "0123456789"
MINE = f'namespace="shop",revision="{REVISION}"'


def selectors_of(query):
    nodes: list[promql_parser.Expr] = []
    promql_parser.walk(promql_parser.parse(query), nodes.append)
    found = [node for node in nodes if isinstance(node, promql_parser.VectorSelector)]
    assert found
    return found


@pytest.mark.parametrize(
    ("query", "confined"),
    [
        ("up", f"up{{{MINE}}}"),
        ("rate(x_total[5m])", f"rate(x_total{{{MINE}}}[5m])"),
        ('{__name__=~"nv_.+"}', f'{{__name__=~"nv_.+",{MINE}}}'),
        ("sum by (pod) (rate(a[1m])) / sum by (pod) (rate(b[1m]))", None),
        ("max_over_time((rate(a[1m]) > scalar(b))[5m:10s])", None),
        ("topk(scalar(a), b)", None),
        ("a offset 5m unless on (pod) b @ end()", None),
        ("histogram_quantile(0.99, sum by (le) (rate(a_bucket[1m])))", None),
        ('label_replace(a, "namespace", "kube-system", "pod", ".*")', None),
        ("-a + (b)", None),
        (r'a{path=~"/v[0-9]\\.x|\"y\""}', r'a{namespace="shop",path=~"/v[0-9]\\.x|\"y\"",revision="0123456789"}'),
        ("absent_over_time(a[5m])", None),
    ],
)
def test_every_selector_is_confined_wherever_it_is(query, confined):
    found = confine(query, "shop", REVISION)

    if confined is not None:
        assert found == confined
    assert all(each in found for each in MINE.split(","))
    assert len(selectors_of(found)) == len(selectors_of(query))
    promql_parser.parse(found)


@pytest.mark.parametrize(
    "query",
    [
        'up{namespace="kube-system"}',
        'up{namespace=~".*"}',
        'up{namespace!="shop", revision!~"x"}',
        'up{pod="x\\"} or secret{pod=\\"y"}',
        'up{pod="\\u0022} or secret{x=\\u0022"}',
        "up{pod='\"} or secret{x=\"'}",
        'up # {namespace="shop"}',
        'up{pod="#"} / down',
    ],
)
def test_a_query_that_tries_to_get_out_stays_in(query):
    found = confine(query, "shop", REVISION)

    for selector in selectors_of(found):
        equal = {
            (each.name, each.value) for each in selector.matchers.matchers if each.op == promql_parser.MatchOp.Equal
        }
        assert {("namespace", "shop"), ("revision", REVISION)} <= equal


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("up{", "not PromQL"),
        ("", "not PromQL"),
        ("vector(1)", "must select series"),
        ("42", "must select series"),
        ('"text"', "neither a range vector nor a string"),
        ("up[5m]", "neither a range vector nor a string"),
        ("rate(up[1m])[5m:1m]", "neither a range vector nor a string"),
        ('up{a="b" or namespace="other"}', "must not contain `or`"),
        ("info(up)", "remove it"),
        ('sum(info(up, {k="v"}))', "remove it"),
    ],
)
def test_what_cannot_be_confined_or_compared_is_refused(query, complaint):
    with pytest.raises(InvalidSpec, match=complaint):
        confine(query, "shop", REVISION)


@pytest.mark.parametrize(("namespace", "revision"), [('x"', REVISION), ("shop", 'y",a=~".*'), ("", REVISION)])
def test_names_that_are_none_are_refused(namespace, revision):
    with pytest.raises(ValueError, match="not names"):
        confine("up", namespace, revision)


@given(st.text(alphabet="ab{}[]()\"'`\\,=~!# or\n/*+@5m", max_size=40), st.text(max_size=20))
def test_no_text_breaks_out(noise, value):
    for query in (noise, f"up{noise}", f'up{{pod="{value}"}}', f'up{{pod="{noise}"}} + down'):
        try:
            found = confine(query, "shop", REVISION)
        except InvalidSpec:
            continue
        assert all('namespace="shop"' in str(each.matchers) for each in selectors_of(found))
