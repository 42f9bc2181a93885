"""Lengths of an adult head in metres, head frame (origin between the eyeball centres).

Means of both sexes, rounded, from
- ANSUR II: Gordon et al. 2014, 2012 Anthropometric Survey of U.S. Army Personnel (head breadth 152,
  head length 195, neck circumference 370, biacromial breadth 395 mm),
- Farkas 1994, Anthropometry of the Head and Face (vertex to sellion 111, ear 63 x 36 mm),
- Bekerman et al. 2014, J. Ophthalmol. (eyeball 24 mm across; iris 12 mm),
- Braun et al. 1998, Angle Orthod. (dental arch: molars 56-60 mm apart, 40-44 mm deep),
- Dodgson 2004 (pupils 63 mm apart).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Point = NDArray[np.float64]  # [3] metres

EYEBALL_RADIUS = 0.012
IRIS_RADIUS = 0.0059
LID_CLEARANCE = 0.0007  # a lid's outer skin stays this far outside the eyeball when it slides
# The eyeball's centre in the frame of the measured landmarks (origin between the eye corners):
# the sphere on which the measured lid margins rest, with a lid's thickness (about 1 mm) between.
EYE_CENTRE_MEASURED: Point = np.array([0.0310, 0.0004, -0.0056])

HEAD_BREADTH = 0.153
CRANIUM_CENTRE: Point = np.array([0.0, 0.024, -0.074])
CRANIUM_UP = 0.088  # with the centre's height: vertex 112 mm above the eyes
CRANIUM_DOWN = 0.120
CRANIUM_BACK = 0.092  # back of the head 195 mm behind the glabella
CRANIUM_FRONT = 0.095
CRANIUM_EXPONENT = 2.25  # a little boxier than an ellipsoid (2)

EAR_HEIGHT, EAR_WIDTH = 0.063, 0.036
EAR_CENTRE: Point = np.array([0.0735, -0.020, -0.086])  # its front 75-80 mm behind the eye
EAR_TILT = 0.20  # rad; the upper end leans back
EAR_PROTRUSION = 0.018

# Neck circumference 370 mm: an ellipse of about 114 x 121 mm.
NECK_TOP_FRONT: Point = np.array([0.0, -0.130, -0.028])  # the angle between throat and chin
NECK_TOP_SIDE: Point = np.array([0.0575, -0.096, -0.088])
NECK_TOP_BACK: Point = np.array([0.0, -0.082, -0.141])
BUST_BOTTOM = -0.300

JAW_JOINT: Point = np.array(
    [0.0, -0.022, -0.072]
)  # on the axis through both temporomandibular joints
JAW_OPEN_ANGLE = 0.33
C7: Point = np.array([0.0, -0.178, -0.118])
C1: Point = np.array([0.0, -0.045, -0.088])
EYE_TURN = 0.5  # rad at coefficient 1

ARCH_HALF_WIDTH, ARCH_DEPTH = 0.0285, 0.042
INCISOR_HEIGHT = 0.0100
