"""CPU seconds of V0 by number of restarts, in whole processes, above the interpreter's own start.

    python benchmarks/verify_cost.py

No preset has so many restarts, so the child process widens one before it verifies. The residuals
differ from restart to restart, as real ones do.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
COUNTS = (12, 1000, 10_000)

PREPARE = """
import os
import sys
os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"  # as `deny` does first of all
from deniability.wire import protocol
name = "pristine-quick-v1"
wider = protocol.PRESETS[name].model_copy(update={{"restarts": {restarts}}})
protocol.PRESETS[name] = wider
"""
MAKE = """
sys.path.insert(0, {samples!r})
import bundle_samples as samples
residuals = ["%.5e" % (0.04 + i * 1e-6) for i in range({restarts})]
made = samples.sample(residuals).to_wire()
content = samples.statement() | {{"predicate": made}}
for control in content["predicate"]["controls"]["controls"]:
    control["restarts"] = {restarts} if control["restarts"] == 12 else control["restarts"]
open({folder!r} + "/bundle.json", "wb").write(samples.sign(samples.recommit(content)))
open({folder!r} + "/key.pem", "wb").write(samples.KEY.public.pem)
"""
VERIFY = """
from deniability.cli import main
sys.argv[1:] = ["verify", {folder!r} + "/bundle.json", "--key", {folder!r} + "/key.pem", "--quiet"]
main()
"""


def cpu(code: str, repeats: int = 7) -> float:
    """Return the least CPU seconds of a Python process that runs this code.

    With bytecode, as installed packages have it, even where a worktree's is not written.
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(Path(tempfile.gettempdir()) / "verify-cost-bytecode")
    best = float("inf")
    for _ in range(repeats):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-c", code]
        subprocess.run(  # noqa: S603 - ours
            command, check=True, capture_output=True, cwd=ROOT, env=environment
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        best = min(best, spent)
    return best


def main() -> None:
    """Measure, print and write the table."""
    bare, imports = cpu("pass"), cpu("import deniability.cli.verify, deniability.verify.bundle")
    rows = []
    for restarts in COUNTS:
        with tempfile.TemporaryDirectory() as folder:
            given = {
                "restarts": restarts,
                "folder": folder,
                "samples": str(ROOT / "tests" / "verify"),
            }
            cpu((PREPARE + MAKE).format(**given), repeats=1)
            size = (Path(folder) / "bundle.json").stat().st_size
            rows.append(
                {
                    "restarts": restarts,
                    "bytes": size,
                    "seconds": cpu((PREPARE + VERIFY).format(**given)) - bare,
                }
            )
    lines = [
        "# CPU of `deny verify` at V0",
        "",
        f"Above the interpreter's own start ({bare:.3f} s); importing what it needs is "
        f"{imports - bare:.3f} s of it.",
        "",
        "| restarts | bundle, bytes | CPU seconds |",
        "|---|---|---|",
        *(f"| {r['restarts']} | {r['bytes']} | {r['seconds']:.3f} |" for r in rows),
    ]
    print("\n".join(lines))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "verify-cost.md").write_text("\n".join(lines) + "\n")
    (RESULTS / "verify-cost.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
