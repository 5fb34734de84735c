"""Fetches the locked npm packages, copies the files in use here and writes vendor.lock; `make vendor` runs it."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODULES = HERE / "node_modules"

# package -> (licence id, {file in the package: file here})
FILES: dict[str, tuple[str, dict[str, str]]] = {
    "plotly.js-cartesian-dist-min": (
        "MIT",
        {"plotly-cartesian.min.js": "plotly/plotly-cartesian.min.js", "LICENSE": "plotly/LICENSE.txt"},
    ),
    "@fontsource-variable/inter": (
        "OFL-1.1",
        {
            "files/inter-latin-wght-normal.woff2": "inter/inter-latin-wght-normal.woff2",
            "files/inter-latin-ext-wght-normal.woff2": "inter/inter-latin-ext-wght-normal.woff2",
            "LICENSE": "inter/LICENSE.txt",
        },
    ),
    "lucide-static": ("ISC AND MIT", {"LICENSE": "lucide/LICENSE.txt"}),
}
SPRITE = "lucide/sprite.svg"
ICONS = HERE / "lucide" / "icons.txt"  # one name a line; edited by hand


def version_of(package: str) -> str:
    return str(json.loads((MODULES / package / "package.json").read_text())["version"])


def sprite(icons: list[str]) -> str:
    """One SVG with a symbol for each icon; the drawing of an icon is everything inside its svg element."""
    symbols = []
    for name in icons:
        drawing = (MODULES / "lucide-static" / "icons" / f"{name}.svg").read_text()
        inner = re.search(r"<svg[^>]*>(.*)</svg>", drawing, re.DOTALL)
        if inner is None:
            raise SystemExit(f"expected an svg element in {name}.svg, found none")
        shapes = " ".join(inner.group(1).split())
        symbols.append(f'<symbol id="{name}" viewBox="0 0 24 24">{shapes}</symbol>')
    note = f"<!-- lucide-static {version_of('lucide-static')}, ISC and MIT, see LICENSE.txt -->"
    return "\n".join(['<svg xmlns="http://www.w3.org/2000/svg">', note, *symbols, "</svg>", ""])


def sha384(path: Path) -> str:
    return "sha384-" + base64.b64encode(hashlib.sha384(path.read_bytes()).digest()).decode()


def main() -> None:
    # Exactly the locked versions, checked against their integrity hashes; no package runs a script here.
    npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(npm, cwd=HERE, check=True)  # noqa: S603 - fixed words, no shell
    lock = []
    for package, (licence, files) in FILES.items():
        targets = list(files.values())
        for source, target in files.items():
            (HERE / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(MODULES / package / source, HERE / target)
        if package == "lucide-static":
            (HERE / SPRITE).write_text(sprite(ICONS.read_text().split()))
            targets.append(SPRITE)
        lock += [
            {
                "file": name,
                "name": package,
                "version": version_of(package),
                "licence": licence,
                "sha384": sha384(HERE / name),
            }
            for name in sorted(targets)
        ]
    (HERE / "vendor.lock").write_text(json.dumps(lock, indent=2) + "\n")
    shutil.rmtree(MODULES)  # static/ is served: nothing but the named files stays
    print(f"copied {len(lock)} files; vendor.lock written")


if __name__ == "__main__":
    main()
