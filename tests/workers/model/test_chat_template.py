"""What a template may do, and what it costs."""

from __future__ import annotations

import pytest

from cupola.scheduler.protocol.tasks import Chat
from cupola.workers.model.chat_template import ChatTemplate, TemplateError
from cupola.workers.model.render_budget import BudgetSpentError, CancelledError, RenderBudget

HI = Chat(({"role": "user", "content": "Hi"}, {"role": "user", "content": ["a", "b"]}))
UNITS = 50_000

ENDLESS = {
    "nested loops": (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    ),
    "loops that write": (
        "{% for a in range(999) %}{% for b in range(999) %}x{% endfor %}{% endfor %}"
    ),
    "filtered loops": (
        "{% for a in range(9999) %}{% for b in range(9999) if 0 %}{% endfor %}{% endfor %}"
    ),
    "recursive loops": (
        "{% for a in range(9999) recursive %}{{ loop(range(9999)) if loop.depth < 4 }}{% endfor %}"
    ),
    "a macro in a loop": (
        "{% macro m() %}{% for a in range(9999) %}{% endfor %}{% endmacro %}"
        "{% for a in range(9999) %}{{ m() }}{% endfor %}"
    ),
    "macros that call each other": (
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}"
    ),
    "filters on a list": (
        "{% set all = range(99999)|list %}{% for a in range(99999) %}{{ all|sum }}{% endfor %}"
    ),
    "lazy filters": (
        "{% for a in range(9999) %}{% set _ = range(9999)|map('int')|list %}{% endfor %}"
    ),
    "methods": (
        "{% set text = 'ab' * 99999 %}{% for a in range(9999) %}"
        "{% set _ = text.replace('a', 'b') %}{% endfor %}"
    ),
    "doubled text": (
        "{% set ns = namespace(x='xxxxxxxx') %}{% for a in range(60) %}"
        "{% set ns.x = ns.x + ns.x %}{% endfor %}"
    ),
    "joined text": (
        "{% set ns = namespace(x='xxxxxxxx') %}{% for a in range(60) %}"
        "{% set ns.x = ns.x ~ ns.x %}{% endfor %}"
    ),
    "repeated text": "{{ 'x' * 10**12 }}",
    "repeated lists": "{{ ([1] * 10**12)|length }}",
    "powers": "{{ 9 ** (9 ** 9) }}",
    "products": (
        "{% set ns = namespace(x=9) %}{% for a in range(60) %}"
        "{% set ns.x = ns.x * ns.x %}{% endfor %}"
    ),
}


@pytest.mark.parametrize("source", ENDLESS.values(), ids=ENDLESS)
def test_endless_work_is_given_up(source: str):
    template = ChatTemplate(source, {})
    with pytest.raises(TemplateError, match="too long"):
        template.render(HI, RenderBudget(UNITS, 60))
    with pytest.raises(BudgetSpentError):
        template.render(HI, RenderBudget(UNITS, 60, final=False))


def test_work_that_nobody_counts_ends_with_the_time():
    times = iter(range(10_000))
    budget = RenderBudget(10**9, 5, clock=lambda: float(next(times)))
    with pytest.raises(TemplateError, match="too long"):
        ChatTemplate(ENDLESS["nested loops"], {}).render(HI, budget)
    assert next(times) < 10


def test_work_ends_when_nobody_waits_for_it():
    asked = iter([False, False, True])
    with pytest.raises(CancelledError):
        ChatTemplate(ENDLESS["nested loops"], {}).render(
            HI, RenderBudget(10**9, 60, lambda: next(asked))
        )


def test_a_budget_is_for_one_rendering():
    template = ChatTemplate("{% for a in range(900) %}{% endfor %}x", {})
    for _ in range(9):
        assert template.render(HI, RenderBudget(2000, 60)) == "x"


LOOPS = {
    "{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ loop.last }} {% endfor %}": (
        "1/2False 2/2True "
    ),
    "{% for m in messages %}{{ loop.previtem is defined }}|{% endfor %}": "False|True|",
    "{% for m in messages %}{{ loop.nextitem is defined }}|{% endfor %}": "True|False|",
    "{% for m in messages[::-1] %}{{ loop.revindex }}{{ m.role }}{% endfor %}": "2user1user",
    "{% for m in messages if m.content is string %}{{ m.content }}{% endfor %}": "Hi",
    "{% for m in nothing %}x{% else %}none{% endfor %}": "none",
    "{% for k, v in messages[0].items() %}{{ k ~ '=' ~ v }};{% endfor %}": "role=user;content=Hi;",
    "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}{% endfor %}": (
        "user"
    ),
    "{% for m in messages %}{{ loop.cycle('a', 'b') }}{% break %}{% endfor %}": "a",
    "{% for a in [[1, [2]], 3] recursive %}{{ loop(a) if a is iterable else a }},{% endfor %}": (
        "1,2,,,3,"
    ),
    "{{ messages|map(attribute='role')|join('+') }}": "user+user",
    "{{ messages|selectattr('content', 'string')|list|length }}": "1",
    "{{ [3, 1, 2]|sort|join ~ ('a' * 3) ~ 2 ** 10 ~ ('%03d' % 7) }}": "123aaa1024007",
    "{{ ('<a>'|upper) + 'b' }}": "<A>b",
    "{{ {'a': 'é'}|tojson }}{{ [1]|tojson(indent=1) }}": '{"a": "é"}[\n 1\n]',
}


@pytest.mark.parametrize(("source", "text"), LOOPS.items(), ids=LOOPS)
def test_counted_templates_write_what_others_write(source: str, text: str):
    assert ChatTemplate(source, {}).render(HI) == text
