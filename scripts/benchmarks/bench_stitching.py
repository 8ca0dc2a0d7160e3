"""Time how probability maps become nuclei, beside scikit-image's chain.

    python scripts/benchmarks/bench_stitching.py    # the table, and docs/pictures/stitching.png
    python scripts/benchmarks/bench_stitching.py --sizes 2048
    python scripts/benchmarks/bench_stitching.py --threads 1 2
    python scripts/benchmarks/bench_stitching.py --peer-python ENVIRONMENT_OF_A_PEER/bin/python
    python scripts/benchmarks/bench_stitching.py --sparse 100000 --scratch BIG_DISK

Every figure comes from a process of its own with one thread, so that peak
memory is that of one method. The map is generated (`build_probability_map`).
scikit-image's chain: `distance_transform_edt`, `peak_local_max`, `watershed`,
`regionprops_table` for area, centroid and box. Seconds are CPU seconds, which
other work on the machine disturbs less; with `--threads`, seconds of the clock.

`--peer-python` measures StarDist's or Cellpose's own post-processing, whichever
is installed there, on its own kind of map of a scene of `--peer-side` px
(see `bench_stitching_stardist.py` and `bench_stitching_cellpose.py`). `--sparse`
makes a map of that side on disk, block by block, with 200 nuclei a megapixel,
and stitches it from store to store.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
PLOT = Path(__file__).parents[2] / "docs" / "pictures" / "stitching.png"
PEERS = ("stardist", "cellpose")
PEER_SIDE = 4096
THREADS_SIDE = 8192
SPARSE_PER_CELL = 0.82
"""Nuclei in 64 x 64 px: two million on 100,000 x 100,000 px."""


def main() -> None:
    """Read the command line, measure, print, plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[4096, 8192, 16384])
    parser.add_argument("--chain-up-to", type=int, default=16384, help="no chain above this side")
    parser.add_argument("--sparse", type=int, metavar="PX", help="side of a sparse map on disk")
    parser.add_argument("--workers", type=int, default=1, help="threads of the sparse mode")
    parser.add_argument("--threads", type=int, nargs="+", help="ours at 8192 px, in parallel")
    parser.add_argument("--peer-python", type=Path, help="Python that has StarDist or Cellpose")
    parser.add_argument("--peer-side", type=int, default=PEER_SIDE, help="side of their scene")
    parser.add_argument("--block-px", type=int, default=1024)
    parser.add_argument("--scratch", type=Path, help="folder for maps on disk")
    parser.add_argument("--plot", type=Path, default=PLOT)
    parser.add_argument("--child", nargs=2, metavar=("METHOD", "MAP"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        method, path = options.child
        click.echo(json.dumps(METHODS[method](Path(path), options)))
        return
    click.echo(f"{platform.platform()}, {_processor()}, {os.cpu_count()} CPUs")
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        if options.sparse:
            bench_sparse(options, Path(folder))
            return
        if options.threads:
            bench_threads(options, Path(folder))
            return
        if options.peer_python:
            bench_peer(options, Path(folder))
            return
        rows = bench_sizes(options, Path(folder))
        plot(rows, options.plot)


# --- in the parent -------------------------------------------------------------------


def bench_sizes(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Print one row for each size and method, when it is measured."""
    rows = []
    path = folder / "map.npy"
    click.echo(
        f"{'side':>6} {'method':>14} {'Mpx/s':>8} {'nuclei/s':>9} {'nuclei':>8} {'peak MB':>8}"
    )
    for side in options.sizes:
        write_map(path, side)
        methods = [
            "ours",
            "ours, 4 maps",
            *(["scikit-image"] if side <= options.chain_up_to else []),
        ]
        for method in methods:
            row = {"side": side, "method": method, **child(method, path, options)}
            row["mpx_s"] = side**2 / 1e6 / row["seconds"]
            rows.append(row)
            click.echo(
                f"{side:6} {method:>14} {row['mpx_s']:8.2f} {row['nuclei'] / row['seconds']:9.0f}"
                f" {row['nuclei']:8} {row['peak_mb']:8.0f}",
            )
        if "scikit-image" in methods:
            click.echo(f"{side:6} {'ratio':>14} {rows[-3]['mpx_s'] / rows[-1]['mpx_s']:8.1f}")
    click.echo(
        f"compiling, once after installation: {child('compile', path, options)['seconds']:.1f} s"
    )
    return rows


def write_map(path: Path, side: int) -> None:
    """A generated (4, side, side) map as .npy, made in strips."""
    from nucleipel.core.geometry import Box
    from nucleipel.data.synthetic.generated_map import build_probability_map

    stored = np.lib.format.open_memmap(path, "w+", np.uint8, (4, side, side))
    for y in range(0, side, 1024):
        stored[:, y : y + 1024] = build_probability_map(Box(y, 0, min(y + 1024, side), side))
    stored.flush()


def child(method: str, path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run a method in a process of its own."""
    command = [sys.executable, __file__, "--child", method, str(path)]
    command += ["--block-px", str(options.block_px), "--workers", str(options.workers)]
    with tempfile.TemporaryDirectory() as cache:
        return run_json(command, **({"NUMBA_CACHE_DIR": cache} if method == "compile" else {}))


def run_json(command: list[str], **env: str) -> dict[str, Any]:
    """The last line that a command with one thread prints."""
    done = subprocess.run(  # noqa: S603
        command, env={**os.environ, **ONE_THREAD, **env}, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Mpx/s against the side of the map."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for method in dict.fromkeys(row["method"] for row in rows):
        those = [row for row in rows if row["method"] == method]
        axes.plot(
            [row["side"] for row in those], [row["mpx_s"] for row in those], "o-", label=method
        )
    axes.set(xscale="log", yscale="log", xlabel="side of the map (px)", ylabel="Mpx/s, one thread")
    axes.set_xticks(
        sorted({row["side"] for row in rows}), labels=sorted({row["side"] for row in rows})
    )
    axes.minorticks_off()
    axes.legend()
    axes.set_title(f"probability map to nuclei and table ({_processor()})", fontsize=9)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def bench_threads(options: argparse.Namespace, folder: Path) -> None:
    """Print how many times as fast more threads are."""
    write_map(folder / "map.npy", THREADS_SIDE)
    alone = 0.0
    for workers in options.threads:
        options.workers = workers
        row = child("threads", folder / "map.npy", options)
        alone = alone or row["seconds"]
        click.echo(
            f"{workers} threads: {THREADS_SIDE**2 / 1e6 / row['seconds']:.1f} Mpx/s,"
            f" {alone / row['seconds']:.2f} times the first, peak {row['peak_mb']:.0f} MB"
        )


def bench_peer(options: argparse.Namespace, folder: Path) -> None:
    """Print a peer's post-processing and ours, and how many nuclei its tiles change."""
    from nucleipel.core.geometry import Box
    from nucleipel.data.synthetic.generated_map import build_instance_map

    script, side = peer_script(options.peer_python), options.peer_side
    np.save(folder / "nuclei.npy", build_instance_map(Box(0, 0, side, side)))
    write_map(folder / "map.npy", side)
    ours = child("ours, 4 maps", folder / "map.npy", options)
    row = run_json([str(options.peer_python), str(script), str(folder / "nuclei.npy")])
    for name, found in (("ours", ours), (row["name"], row)):
        click.echo(
            f"{name}: {side} px, {side**2 / 1e6 / found['seconds']:.2f} Mpx/s,"
            f" {found['nuclei']} of {row['true']} nuclei, peak {found['peak_mb']:.0f} MB"
        )
    click.echo(
        f"{row['name']}, tiled: {row['changed']} of {row['nuclei']} nuclei differ from un-tiled"
        f" ones, {row['tiled_nuclei']} in all; ours: none, by construction"
    )


def peer_script(python: Path) -> Path:
    """The script for the first of `PEERS` that is installed in an environment."""
    find = "import importlib.util, json; print(json.dumps([n for n in {0} if {1}(n)]))"
    code = find.format(PEERS, "importlib.util.find_spec")
    found = run_json([str(python), "-c", code])
    if not found:
        sys.exit(f"{python}: has none of {', '.join(PEERS)}; install one of them there")
    return Path(__file__).with_name(f"bench_stitching_{found[0]}.py")


def bench_sparse(options: argparse.Namespace, folder: Path) -> None:
    """Stitch a sparse map of billions of pixels, from store to store."""
    import zarr

    from nucleipel.core.geometry import Box
    from nucleipel.data.synthetic.generated_map import build_probability_map

    side = options.sparse
    stored = zarr.create_array(
        folder / "map.zarr", shape=(4, side, side), chunks=(4, 1024, 1024), dtype=np.uint8,
        compressors=[zarr.codecs.BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")],
    )  # fmt: skip
    for y in range(0, side, 1024):
        for x in range(0, side, 1024):
            box = Box(y, x, y + 1024, x + 1024).clip((side, side))
            stored[(slice(None), *box.slices)] = build_probability_map(
                box, nuclei_per_cell=SPARSE_PER_CELL
            )
    row = child("sparse", folder / "map.zarr", options)
    click.echo(
        f"{side} x {side} px, blocks of {options.block_px} px, {options.workers} workers:"
        f" {row['nuclei']} nuclei, {row['seconds']:.0f} s,"
        f" {side**2 / 1e6 / row['seconds']:.1f} Mpx/s, peak {row['peak_mb']:.0f} MB,"
        f" {row['seams']} components on seams, scratch {row['scratch_mb']:.0f} MB"
    )


# --- in the child --------------------------------------------------------------------


def run_ours(path: Path, options: argparse.Namespace, maps: int = 3) -> dict[str, Any]:
    """Time our instances and table, in memory, after compilation."""
    import cv2

    from nucleipel.instances import segment_instances

    cv2.setNumThreads(1)
    stored = np.load(path, mmap_mode="r")[:maps]
    segment_instances(np.ascontiguousarray(stored[:, :200, :200]), block_px=64)
    start = time.process_time()
    found = segment_instances(stored, block_px=options.block_px)
    table = found.table
    known = (table.area_px, table.centroid_px, table.box_px, table.mean_probability)
    seconds = time.process_time() - start
    return {"seconds": seconds, "nuclei": len(known[0]), "peak_mb": _peak_mb()}


def run_threads(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Time our instances with several threads, in memory, by the clock."""
    import cv2

    from nucleipel.instances import segment_instances

    cv2.setNumThreads(1)
    stored = np.load(path, mmap_mode="r")[:3]
    segment_instances(np.ascontiguousarray(stored[:, :200, :200]), block_px=64)
    out = np.ones(stored.shape[1:], np.uint32)
    int(stored.max())  # read once, so that the disk is not measured
    start = time.perf_counter()
    segment_instances(stored, block_px=options.block_px, workers=options.workers, out=out)
    return {"seconds": time.perf_counter() - start, "peak_mb": _peak_mb()}


def run_chain(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Time scikit-image's peaks, watershed and regionprops, as its gallery uses them."""
    from scipy.ndimage import distance_transform_edt
    from skimage.feature import peak_local_max
    from skimage.measure import regionprops_table
    from skimage.segmentation import watershed

    stored = np.load(path, mmap_mode="r")
    start = time.process_time()
    foreground = np.asarray(stored[1]).astype(np.int16) + stored[2] > stored[0]
    distance = distance_transform_edt(foreground)
    # the mask, as in the gallery: with `label(foreground)` the same peaks take five times as long
    mask = foreground.astype(np.int32)
    peaks = peak_local_max(distance, min_distance=5, labels=mask, exclude_border=False)
    del mask
    markers = np.zeros(distance.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    np.negative(distance, out=distance)
    labels = watershed(distance, markers, mask=foreground)
    del distance, markers, foreground
    table = regionprops_table(labels, properties=("label", "area", "centroid", "bbox"))
    seconds = time.process_time() - start
    return {"seconds": seconds, "nuclei": len(table["label"]), "peak_mb": _peak_mb()}


def run_sparse(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Time our instances from store to store, with scratch on disk."""
    import cv2
    import zarr

    from nucleipel.instances import segment_instances

    cv2.setNumThreads(1)
    stored = zarr.open_array(path, mode="r")
    out = zarr.create_array(
        path.parent / "out.zarr", shape=stored.shape[1:], chunks=(1024, 1024), dtype=np.uint32
    )
    scratch = path.parent / "scratch"
    start = time.process_time()
    found = segment_instances(
        stored, block_px=options.block_px, workers=options.workers, out=out, scratch=scratch
    )
    return {
        "seconds": time.process_time() - start,
        "nuclei": len(found.table),
        "peak_mb": _peak_mb(),
        "seams": found.certificate.cut["seam_components"],
        "scratch_mb": sum(file.stat().st_size for file in scratch.rglob("*")) / 1e6,
    }


def run_compile(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Time the very first call, with an empty cache of compiled code."""
    from nucleipel.instances import segment_instances

    stored = np.ascontiguousarray(np.load(path, mmap_mode="r")[:3, :200, :200])
    segment_instances(stored[:, :1, :1].copy() * 0)
    start = time.process_time()
    segment_instances(stored)
    warm = time.process_time() - start
    return {"seconds": time.process_time() - warm}


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


METHODS = {
    "ours": run_ours,
    "ours, 4 maps": lambda path, options: run_ours(path, options, maps=4),
    "scikit-image": run_chain,
    "threads": run_threads,
    "sparse": run_sparse,
    "compile": run_compile,
}

if __name__ == "__main__":
    main()
