"""Text of any origin, made harmless for the language it is written into: HTML, LaTeX, Markdown, CSV.

Names of folders, variants, categories and methods reach a file through one of these functions only. What a terminal
would act on, or a reader would not see (control characters, reversed text, halves of characters), is shown escaped in
every language, as ``runtime.command_line.printable`` shows it.
"""

import html
import re

from runtime.command_line import printable

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": r"\textasciigrave{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "–": "--",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "−": "$-$",
    "×": r"$\times$",
    "²": "$^2$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}

GREEK = {
    "αβγδεζηθικλμ": "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu",
    "νξπρστυφχψω": "nu xi pi rho sigma tau upsilon phi chi psi omega",
    "ΓΔΘΛΞΠΣΥΦΨΩ": "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega",
}
for letters, names in GREEK.items():
    LATEX |= {letter: rf"$\{name}$" for letter, name in zip(letters, names.split(), strict=True)}

LIGATURES = re.compile(r"-(?=-)|'(?=')|,(?=,)")
"""Pairs that TeX would print as one sign."""

MARKDOWN = re.compile(
    r"""[\\`*|]                        # code, emphasis, cells
    | (?<![^\W_])_ | _(?![^\W_])      # emphasis; not inside a word
    """,
    re.VERBOSE,
)
"""Signs that a backslash makes harmless."""

MARKUP = re.compile(
    r"""[<~$]                         # tags, strikethrough, mathematics
    | &(?=[#\w])                      # entities
    | \](?=[(\[:])                    # links and their definitions; Python-Markdown looks for those before escapes
    | :(?=//) | (?<=www)\.            # addresses that become links
    | ^[ ] | ^[-+=\#>] | ^\d(?=\d*[.)](\s|$)) # code, lists, rules, headings, quotations
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Signs that are written as entities, which every dialect of Markdown reads."""

NUMBERS = re.compile(r"[-+]?[\d. eE+-]*")
FORMULA = re.compile(r"\s*[-=+@＝＋－＠']")


def for_html(value: object) -> str:
    """``value`` as text, or as an attribute in double quotes; lines stay lines."""
    return html.escape("\n".join(map(printable, str(value).split("\n"))), quote=True)


def for_latex(value: object) -> str:
    """``value`` so that LaTeX prints it as it is, in a cell, a caption or a footnote."""
    parted = LIGATURES.sub(lambda match: f"{match[0]}\0", printable(value))
    text = "".join("{}" if letter == "\0" else LATEX.get(letter, letter) for letter in parted)
    return f"{{}}{text}" if text.startswith(("[", "*")) else text  # after \\ they would be an argument


def for_markdown(value: object) -> str:
    """``value`` so that Markdown shows it as it is, in a paragraph or in the cell of a table."""
    text = MARKUP.sub(lambda match: f"&#{ord(match[0])};", printable(value))
    return MARKDOWN.sub(lambda match: f"\\{match[0]}", text)


def for_csv(value: object) -> str:
    """``value`` as a cell that no spreadsheet computes: what begins like a formula begins with an apostrophe.

    Numbers stay numbers. The ``csv`` module adds the quotes.
    """
    text = printable(value)
    return f"'{text}" if FORMULA.match(text) and not NUMBERS.fullmatch(text) else text
