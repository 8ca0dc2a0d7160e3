"""Connected components of a block, from the runs of pixels in its rows.

There are far fewer runs than pixels, and the box of a component and the number of
its holes follow from its runs.
"""

import numpy as np

from nucleipel.core.compiled import compiled


@compiled
def connected_components(foreground):  # type: ignore[no-untyped-def]
    """Label the 8-connected components of an (h, w) uint8 map, in raster order of first pixels.

    Returns
    -------
    labels : (h, w) int32
        1..n, 0 for background.
    boxes : (n, 4) int32
        Half-open (y0, x0, y1, x1).
    holes : (n,) int32
        Number of 4-connected pieces of the rest that each component encloses: by
        Euler's formula 1 less its runs plus the contacts of runs in neighboring rows.
    """
    height, width = foreground.shape
    most = height * ((width + 1) // 2)
    begins, ends = np.empty(most, np.int32), np.empty(most, np.int32)
    rows, parents = np.empty(most, np.int32), np.empty(most, np.int32)
    contacts = np.empty(most, np.int32)
    count, above, here = 0, 0, 0
    for y in range(height):
        above, here = here, count
        line = foreground[y]
        x = 0
        while x < width:
            if line[x] == 0:
                x += 1
                continue
            begins[count] = x
            while x < width and line[x] != 0:
                x += 1
            ends[count], rows[count], parents[count], contacts[count] = x, y, count, 0
            count += 1
        other = above
        for run in range(here, count):
            while other < here and ends[other] < begins[run]:
                other += 1
            while other < here and begins[other] <= ends[run]:
                contacts[run] += 1
                one, two = other, run
                while parents[one] != one:
                    parents[one] = parents[parents[one]]
                    one = parents[one]
                while parents[two] != two:
                    parents[two] = parents[parents[two]]
                    two = parents[two]
                parents[max(one, two)] = min(one, two)
                if ends[other] > ends[run]:  # it may reach the next run too
                    break
                other += 1
    components = 0
    for run in range(count):
        components += parents[run] == run
    labels = np.zeros((height, width), np.int32)
    boxes = np.empty((components, 4), np.int32)
    holes = np.ones(components, np.int32)
    label = 0
    for run in range(count):
        # from here on the parent is the label, and an earlier run's is known
        if parents[run] == run:
            boxes[label, :] = 0
            boxes[label, 0], boxes[label, 1] = rows[run], begins[run]
            label += 1
            parents[run] = label
        else:
            parents[run] = parents[parents[run]]
        own = parents[run]
        box = boxes[own - 1]
        box[1], box[2] = min(box[1], begins[run]), rows[run] + 1
        box[3] = max(box[3], ends[run])
        holes[own - 1] += contacts[run] - 1
        labels[rows[run], begins[run] : ends[run]] = own
    return labels, boxes, holes
