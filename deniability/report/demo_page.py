"""The demo as one page: self-contained, printable, everything escaped."""

from __future__ import annotations

import base64
import html
from pathlib import Path

from deniability.report.demo import Demo, DemoCase, Forgery
from deniability.report.text import escape
from deniability.report.wording import CAVEATS, numbers, verify_command
from deniability.wire.files import read_capped

_MAX_FIGURE_BYTES = 32 * 2**20
#: Nothing is fetched and nothing runs, whatever ends up in the text.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #1b1b1b; background: #fff;
  max-width: 60rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin-bottom: .4rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .3rem; border-top: 1px solid #ccc; padding-top: 1.2rem; }
p { margin: .5rem 0; }
.verdict { display: inline-block; padding: .1rem .7rem; border-radius: 1rem; color: #fff;
  font-weight: 600; font-size: .95rem; }
.excluded { background: #00618f; } .reached { background: #b34700; }
.inconclusive { background: #555; } .refused { background: #8b1a1a; }
.finding { border-left: 4px solid #bbb; padding-left: .9rem; overflow-wrap: anywhere; }
img { width: 100%; height: auto; border: 1px solid #ddd; margin: .6rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; }
th { text-align: left; vertical-align: top; font-weight: 600; width: 8rem; }
th, td { padding: .25rem .6rem .25rem 0; border-bottom: 1px solid #e4e4e4;
  overflow-wrap: anywhere; }
pre { background: #f4f4f4; padding: .6rem .8rem; white-space: pre-wrap; overflow-wrap: anywhere;
  font-size: .88rem; margin: .5rem 0; }
code { background: #f4f4f4; overflow-wrap: anywhere; }
.limits { background: #fff7ec; border: 1px solid #e8d2ac; padding: .6rem 1rem; }
@media print { body { margin: 0; max-width: none; font-size: 11pt; }
  section { break-inside: avoid; } pre { border: 1px solid #ccc; } }
"""


def demo_page(demo: Demo) -> str:
    """Return the page's HTML."""
    first = demo.cases[0].exclusion
    forgery = "" if demo.forgery is None else _forgery(demo, demo.forgery)
    cases = "\n".join(_case(demo, case, n) for n, case in enumerate(demo.cases, start=1))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>deny demo</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Three accusations and a forgery</h1>
<p>An image generator is accused of three pictures. For each, its developer searched the
generator's latent space for an input that makes the picture, compared how near the search came
with how near it comes to {first.protocol.controls} pictures that the generator certainly made
(the controls), and signed the result. Anyone can check the result without believing the
developer.</p>
{
        _table(
            [
                ("generator", f"built in; sha256:{first.model.digest}"),
                ("protocol", f"{first.protocol.name}, sha256:{first.protocol_digest}"),
                ("registered", first.registration.created_at),
                ("signed by", f"demo key {demo.key.public.keyid}"),
            ]
        )
    }
{cases}
{forgery}
{_limits(demo)}
{_next(demo)}
</body>
</html>
"""


def _text(text: str) -> str:
    """Escape for a terminal's and for HTML's sake."""
    return html.escape(escape(text), quote=True)


def _table(rows: list[tuple[str, str]]) -> str:
    lines = (f"<tr><th>{_text(name)}</th><td>{_text(text)}</td></tr>" for name, text in rows)
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _embedded(path: Path) -> str:
    data = read_capped(path, _MAX_FIGURE_BYTES, what="figure")
    return "data:image/png;base64," + base64.b64encode(data).decode()


def _case(demo: Demo, case: DemoCase, number: int) -> str:
    rows = numbers(case.exclusion)
    if case.latent is not None:
        rows.append(("latent", ", ".join(f"{value:.4f}" for value in case.latent)))
    rows.append(("picture", f"{case.image.name}, sha256 {case.exclusion.accused.file.sha256}"))
    command = verify_command(
        case.bundle.name, key=demo.public_key.name, image=case.image.name, model="builtin"
    )
    return f"""<section>
<h2>{number}. {_text(case.plan.heading)}</h2>
<p>{_text(case.plan.story)}</p>
<p><span class="verdict {case.verdict}">{case.verdict}</span></p>
<p class="finding">{_text(case.exclusion.finding.sentence)}</p>
<img src="{_embedded(case.figure)}" alt="The accused picture, the nearest output found, eight times
their difference, and the residuals of accused and controls">
{_table(rows)}
<p>Check it, in this folder:</p>
<pre>{_text(command)}</pre>
</section>"""


def _forgery(demo: Demo, forgery: Forgery) -> str:
    command = verify_command(forgery.bundle.name, key=demo.public_key.name)
    refused = bool(forgery.stage)
    message = f"Stage {forgery.stage}: {forgery.message}" if refused else "It was accepted."
    return f"""<section>
<h2>{len(demo.cases) + 1}. One character of a bundle is changed</h2>
<p>Character {forgery.offset} of <code>{_text(forgery.original.name)}</code> was
<code>{_text(forgery.before)}</code> and is <code>{_text(forgery.after)}</code> in
<code>{_text(forgery.bundle.name)}</code>, so that the residual
{_text(forgery.residual_before)} reads {_text(forgery.residual_after)}.</p>
<p><span class="verdict {"refused" if refused else "inconclusive"}">{
        "refused" if refused else "accepted"
    }</span></p>
<p class="finding">{_text(message)}</p>
<pre>{_text(command)}</pre>
</section>"""


def _limits(demo: Demo) -> str:
    lines = [*CAVEATS, *demo.cases[0].exclusion.scope]
    items = "\n".join(f"<li>{_text(line)}</li>" for line in lines)
    return f"""<section class="limits">
<h2 style="border:0;margin-top:0;padding-top:0">What this does not prove</h2>
<ul>
{items}
</ul>
</section>"""


def _next(demo: Demo) -> str:
    commands = "\n".join(_text(command) for command in demo.commands(inside=True))
    files = "\n".join(f"<li><code>{_text(path.name)}</code></li>" for path in demo.files())
    return f"""<section>
<h2>Next</h2>
<p>In this folder (<code>deny</code> is in the <code>bin</code> folder of the environment that it
was installed into, e.g. <code>../.venv/bin/deny</code>):</p>
<pre>{commands}</pre>
<p>Beside this page:</p>
<ul>
{files}
</ul>
</section>"""
