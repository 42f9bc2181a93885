"""Run by Blender: import the GLB of the first argument, and write what it holds, and where its
vertices are in some poses, into the JSON file of the second.

    blender -b --factory-startup -P blender_poses.py -- me.glb poses.json
"""

import json
import sys

import bpy  # pyright: ignore[reportMissingImports]
import numpy

if "bool" not in vars(numpy):  # Debian's Blender 3.4 asks Debian's NumPy for it
    setattr(numpy, "bool", bool)  # noqa: B010
glb, found = sys.argv[sys.argv.index("--") + 1 :]
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.gltf(filepath=glb)
head = next(thing for thing in bpy.data.objects if thing.type == "MESH" and thing.data.shape_keys)
armature = next(thing for thing in bpy.data.objects if thing.type == "ARMATURE")
keys = head.data.shape_keys


def vertices():
    bpy.context.view_layer.update()
    shown = head.evaluated_get(bpy.context.evaluated_depsgraph_get())
    return [list(shown.matrix_world @ vertex.co) for vertex in shown.to_mesh().vertices]


def at(clip, frame):
    """As an action, not as a strip: strips begin at frame 1."""
    for thing in (armature, keys):
        animation = thing.animation_data
        strip = next(s for t in animation.nla_tracks if t.name.startswith(clip) for s in t.strips)
        animation.action = strip.action
        if hasattr(animation, "action_slot"):  # Blender 4.4
            animation.action_slot = strip.action_slot
    bpy.context.scene.frame_set(int(frame), subframe=frame % 1)
    return vertices()


result = {
    "version": bpy.app.version_string,
    "keys": [key.name for key in keys.key_blocks][1:],
    "bones": {bone.name: bone.parent and bone.parent.name for bone in armature.data.bones},
    "materials": [slot.material.name for slot in head.material_slots],
    "images": sorted(image.name for image in bpy.data.images),
    "noted": any("avatar3d" in thing for thing in bpy.data.objects),
    "motion": {
        str(frame): at("motion", frame / 25 * bpy.context.scene.render.fps) for frame in (5, 12)
    },
}
for thing in (armature, keys):
    thing.animation_data_clear()
for key in keys.key_blocks:
    key.value = 0
for bone in armature.pose.bones:
    bone.matrix_basis.identity()
result["rest"] = vertices()
for name in ("jawOpen", "eyeBlinkLeft"):
    keys.key_blocks[name].value = 1
    result[name] = vertices()
    keys.key_blocks[name].value = 0
with open(found, "w", encoding="utf-8") as file:
    json.dump(result, file)
