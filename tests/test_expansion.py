"""``${NAME:default}``: values, defaults, and lines that stay those of the file."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from iii._version import __version__
from iii.expansion import expand
from tests.config_case import ConfigCase


class Expansion(ConfigCase):
    """01 §12.2."""

    def test_values_defaults_and_what_is_left_alone(self) -> None:
        environ = {"SET": "v", "EMPTY": "", " A ": "spaces"}
        cases = {
            "${SET}": "v",
            "${SET:d}": "v",
            "${EMPTY:d}": "",
            "${NOT:d}": "d",
            "${NOT:}": "",
            "${NOT:-x}": "-x",
            "${ A }": "spaces",
            "${NOT:redis://h:6379/0}": "redis://h:6379/0",
            "${NOT:a$b{c}": "a$b{c",
            "${NOT:${SET:x}}": "${SET:x}",
            "${}": "${}",
            "${:x}": "${:x}",
            "$SET ${SET": "$SET ${SET",
            "a${SET}b${SET}": "avbv",
            "${V:__III_ENGINE_VERSION__}": __version__,
        }
        for text, expanded in cases.items():
            with self.subTest(text):
                result = expand(text, environ)
                self.assertEqual((result.text, result.unset), (expanded, []))

    def test_substituted_text_is_not_expanded_again(self) -> None:
        self.assertEqual(expand("${A}", {"A": "${B}", "B": "no"}).text, "${B}")

    def test_comment_lines_are_left_alone(self) -> None:
        text = "# ${UNSET}\n  \t# ${UNSET}\nkey: 1 # ${SET}\n"
        self.assertEqual(
            expand(text, {"SET": "v"}).text, "# ${UNSET}\n  \t# ${UNSET}\nkey: 1 # v\n"
        )

    def test_a_value_with_line_breaks_does_not_shift_the_lines_of_errors(self) -> None:
        text = 'a: "${MANY}"\nb: ${D:1\n}\nmodules: 7\n'
        self.assertEqual(
            self.errors(text, {"MANY": "x\n\n\n  y"}),
            ["4: modules: expected a list or null, found the number 7"],
        )

    @settings(max_examples=200, deadline=None)
    @given(st.text(alphabet="${}:AB#x \n\r", max_size=40))
    def test_any_text_is_expanded_and_every_character_has_an_origin(self, text: str) -> None:
        expanded = expand(text, {"A": "1\n2"})
        for index, character in enumerate(expanded.text):
            origin = expanded.origin(index)
            self.assertTrue(text[origin] == character or text[origin] == "$")
            line, column = expanded.position(index)
            self.assertEqual(text.split("\n")[line - 1][column - 1 : column] or "\n", text[origin])
        for unset in expanded.unset:
            line, column = unset.position
            self.assertEqual(text.split("\n")[line - 1][column - 1 :][:2], "${")

    @settings(max_examples=100, deadline=None)
    @given(st.text(max_size=60).filter(lambda text: "${" not in text))
    def test_a_text_without_references_stays_as_it_is(self, text: str) -> None:
        once = expand(text, {})
        self.assertEqual(once.text, text)
        self.assertEqual(expand(once.text, {}).text, text)

    def test_unset_without_default_is_fatal(self) -> None:
        """01.53: ``port: ${NO_SUCH_VAR}`` is refused, with a default or a value it counts."""
        text = "Environment variable 'NO_SUCH_VAR' not set and no default provided"
        self.assertEqual(self.errors("\nport: ${NO_SUCH_VAR}\n"), [f"2: {text}"])

        loaded = self.load("port: ${NO_SUCH_VAR:50001}\n")
        self.assertEqual(loaded.worker_listeners[0].port, 50001)

        loaded = self.load("port: ${NO_SUCH_VAR:50001}\n", {"NO_SUCH_VAR": "50002"})
        self.assertEqual(loaded.worker_listeners[0].port, 50002)

    def test_every_unset_variable_is_named(self) -> None:
        errors = self.errors("a: ${ONE}\n# ${COMMENT}\nb: [${TWO}, ${THREE:3}]\n")
        self.assertEqual([error.split("'")[1] for error in errors], ["ONE", "TWO"])
        self.assertEqual([error[0] for error in errors], ["1", "3"])

    def test_types_are_decided_after_expansion(self) -> None:
        """01.54: a quoted number is no port, ``yes`` is no boolean."""
        block = 'url: ${A:redis://h:6379/0}\nport: "${P:1}"\nflag: ${F:yes}\n'
        self.assertEqual(
            self.demo_errors(block),
            [
                "5: modules[0].config.port (demo::Demo): expected an integer, "
                'found the string "1" (remove the quotes)',
                "6: modules[0].config.flag (demo::Demo): expected true or false, "
                'found the string "yes" (in YAML 1.2 only true and false are booleans)',
            ],
        )
        [entry, *_] = self.load(
            "modules:\n- {class: demo::Demo, config: {url: '${A:redis://h:6379/0}', n: ${N:3112}, "
            "b: ${B:true}, x: '${X:}', z: ${Z:} }}"
        ).entries
        self.assertEqual(
            entry.config, {"url": "redis://h:6379/0", "n": 3112, "b": True, "x": "", "z": None}
        )
