"""Numba kernel of the mesh z-buffer. Imported only when a mesh is drawn."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from avatar3d.numba_tickets import take_ticket

# Rows that one task draws: few enough to share a small picture among threads.
_BAND = 16


@njit(cache=True, error_model="numpy", nogil=True)
def z_buffer(
    tickets, vertices_px, vertex_depth, triangles, cull_back_faces, near_plane,
    triangle_index, barycentrics, depth,
):  # fmt: skip
    """Bands of rows in parallel; each walks all triangles in order, so ties do not depend on it."""
    height, width = depth.shape
    band = take_ticket(tickets)
    while band * _BAND < height:
        first_row, end_row = band * _BAND, min(height, (band + 1) * _BAND)
        for f in range(triangles.shape[0]):
            a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
            ya, yb, yc = vertices_px[a, 1], vertices_px[b, 1], vertices_px[c, 1]
            top, bottom = min(ya, yb, yc), max(ya, yb, yc)
            if not (bottom >= first_row and top <= end_row):  # also drops NaN
                continue
            za, zb, zc = vertex_depth[a], vertex_depth[b], vertex_depth[c]
            if not (za > near_plane and zb > near_plane and zc > near_plane):
                continue
            xa, xb, xc = vertices_px[a, 0], vertices_px[b, 0], vertices_px[c, 0]
            left, right = min(xa, xb, xc), max(xa, xb, xc)
            if not (right >= 0 and left <= width):
                continue
            # Twice the signed area; pixels point down, so an outward (counter-clockwise) triangle
            # is negative here. Double precision keeps shared edges free of cracks.
            area = np.float64(xb - xa) * (yc - ya) - np.float64(xc - xa) * (yb - ya)
            if area == 0.0 or (cull_back_faces and area > 0.0):
                continue
            inverse_area = 1.0 / area
            x0 = max(0, int(math.ceil(max(left, np.float32(0)) - 0.5)))
            x1 = min(width - 1, int(math.floor(min(right, np.float32(width)) - 0.5)))
            y0 = max(first_row, int(math.ceil(max(top, np.float32(0)) - 0.5)))
            y1 = min(end_row - 1, int(math.floor(min(bottom, np.float32(height)) - 0.5)))
            for y in range(y0, y1 + 1):
                py = y + 0.5
                for x in range(x0, x1 + 1):
                    px = x + 0.5
                    wb = ((px - xa) * (yc - ya) - (xc - xa) * (py - ya)) * inverse_area
                    wc = ((xb - xa) * (py - ya) - (px - xa) * (yb - ya)) * inverse_area
                    wa = 1.0 - wb - wc
                    if wa < 0.0 or wb < 0.0 or wc < 0.0:
                        continue
                    # 1 / depth is linear in the picture.
                    pa, pb, pc = wa / za, wb / zb, wc / zc
                    z = 1.0 / (pa + pb + pc)
                    if z < depth[y, x]:
                        depth[y, x] = z
                        triangle_index[y, x] = f
                        barycentrics[y, x, 0] = pa * z
                        barycentrics[y, x, 1] = pb * z
                        barycentrics[y, x, 2] = pc * z
        band = take_ticket(tickets)
