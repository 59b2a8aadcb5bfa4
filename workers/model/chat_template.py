"""A model's chat template: from messages to the text that the model reads."""

from __future__ import annotations

import datetime
import functools
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, cast

import jinja2
from jinja2 import nodes
from jinja2.ext import loopcontrols
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from cupola.scheduler.protocol.tasks import Chat
from cupola.workers.model.render_budget import (
    MAX_RENDERED,
    BudgetSpentError,
    RenderBudget,
    checked_operation,
    full_budget,
)

TOO_LONG = "the model's chat template works too long on these messages"


class TemplateError(ValueError):
    """The model's chat template refuses these messages, or the model has none."""


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    # Jinja's own filter escapes for HTML, which models were not trained on.
    return json.dumps(value, ensure_ascii=False, indent=indent)


_COUNTED = "rounds of a loop"  # no template can write a name with a space
_MADE = "joined text"


class _Environment(ImmutableSandboxedEnvironment):
    """A sandbox that counts the work of its templates, each thread for itself."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        self._running = threading.local()
        self.filters["tojson"] = _to_json
        self.filters = {name: self._weighed(filter_) for name, filter_ in self.filters.items()}
        # The compiler tries filters on constants. There is no budget then, and it gives up.
        self.filters[_COUNTED] = lambda values: self.budget.counted(values)
        self.filters[_MADE] = self._weighed(lambda text: text)
        self.globals["raise_exception"] = _raise
        self.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)

    @property
    def budget(self) -> RenderBudget:
        budget: RenderBudget = self._running.budget
        return budget

    @budget.setter
    def budget(self, budget: RenderBudget) -> None:
        self._running.budget = budget

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        budget = self.budget
        budget.weigh(getattr(obj, "__self__", None))
        for value in args:
            budget.weigh(value)
        made = super().call(context, obj, *args, **kwargs)
        budget.weigh(made)
        return made

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator != "+":
            checked_operation(operator, left, right)
        made = self.binop_table[operator](left, right)
        self._running.budget.weigh(made)
        return made

    def _weighed(self, filter_: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(filter_)  # also keeps the mark that it wants the context
        def weighed(*args: Any, **kwargs: Any) -> Any:
            budget = self.budget
            for value in args:
                budget.weigh(value)
            made = filter_(*args, **kwargs)
            budget.weigh(made)
            return made

        return weighed


class _Counting(NodeTransformer):
    """Makes loops count their rounds, and weighs texts that are joined."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _filtered(cast(nodes.Expr, node.iter), _COUNTED)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        joined = nodes.Concat([self.visit(part) for part in node.nodes], lineno=node.lineno)
        return _filtered(joined, _MADE)


def _filtered(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _compiled(environment: _Environment, source: str) -> jinja2.Template:
    tree = _Counting().visit(environment.parse(source))
    code = environment.compile(tree)
    return jinja2.Template.from_code(environment, code, environment.make_globals(None))


class ChatTemplate:
    """A model's own template. It runs in a sandbox: the code in a model's folder is not trusted."""

    def __init__(self, source: str, tokens: Mapping[str, str]) -> None:
        """``tokens``: bos_token, eos_token and so on, as in tokenizer_config.json."""
        self._environment = _Environment()
        self._template = _compiled(self._environment, source)
        self._tokens = dict(tokens)

    def render(self, chat: Chat, budget: RenderBudget | None = None) -> str:
        """The prompt, up to the beginning of the assistant's answer.

        Raises TemplateError, BudgetSpentError if the budget is not final, and CancelledError.
        """
        budget = budget or full_budget()
        try:
            return self._render(chat, budget)
        except BudgetSpentError:
            if not budget.final:
                raise
            raise TemplateError(TOO_LONG) from None

    def _render(self, chat: Chat, budget: RenderBudget) -> str:
        variables = {"tools": list(chat.tools) or None, "add_generation_prompt": True}
        variables |= {"messages": list(chat.messages)} | self._tokens | chat.template_options
        if not chat.continue_last:
            return self._generate(variables, budget)
        # Cut off what the template writes behind the last message, so that the answer continues it.
        prompt = self._generate(variables | {"add_generation_prompt": False}, budget)
        last = str(chat.messages[-1].get("content") or "")
        at = prompt.rfind(last.strip())
        if at < 0:
            raise TemplateError("the chat template hides the last message, so it cannot go on")
        return prompt[: at + len(last.strip())]

    def _generate(self, variables: Mapping[str, Any], budget: RenderBudget) -> str:
        self._environment.budget = budget
        parts: list[str] = []
        size = 0
        try:
            for part in self._template.generate(variables):
                parts.append(part)
                size += len(part)
                if size > MAX_RENDERED:
                    raise TemplateError("the chat template makes too long a prompt")
        except RecursionError:
            raise TemplateError("the model's chat template nests too deep") from None
        except (jinja2.TemplateError, TypeError, ValueError, OverflowError) as error:
            raise TemplateError(f"the model's chat template refuses this: {error}") from error
        return "".join(parts)
