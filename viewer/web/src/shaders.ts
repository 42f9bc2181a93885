// Three passes: normals and tangents of the vertices, the Gaussians in the world, their pictures.
// The first two draw into textures of integers, which every WebGL2 can; floats travel as their bits.
// The formulas are those of avatar3d/binding.py, avatar3d/avatar.py and render/backends/reference.py.

export const TEXTURE_WIDTH = 512; // splats and their order
export const VERTEX_WIDTH = 256; // vertices and rings

const HEADER = `#version 300 es
precision highp float; precision highp int; precision highp sampler2D; precision highp usampler2D;
precision highp isampler2D; precision highp usampler2DArray;
`;

export const FILL = `${HEADER}
void main() { gl_Position = vec4(vec2((gl_VertexID << 1) & 2, gl_VertexID & 2) * 2.0 - 1.0, 0.0, 1.0); }`;

const VERTEX = `
uniform sampler2D points;
ivec2 vertexAt(uint v) { return ivec2(int(v) & ${VERTEX_WIDTH - 1}, int(v) >> ${Math.log2(VERTEX_WIDTH)}); }
`;

// Summed normal and tangent of the triangles around each vertex.
export const VERTEX_FRAMES = `${HEADER}${VERTEX}
uniform usampler2D starts, rings;
layout(location = 0) out uvec4 first;
layout(location = 1) out uvec4 second;
void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  uint range = texelFetch(starts, at, 0).x;
  uint start = range >> 8, end = start + (range & 255u);
  vec3 here = texelFetch(points, at, 0).xyz, normal = vec3(0.0), tangent = vec3(0.0);
  for (uint k = start; k < end; k++) {
    uvec4 ring = texelFetch(rings, vertexAt(k), 0);
    vec3 a = texelFetch(points, vertexAt(ring.x), 0).xyz - here;
    vec3 b = texelFetch(points, vertexAt(ring.y), 0).xyz - here;
    normal += cross(a, b);
    tangent += uintBitsToFloat(ring.z) * a + uintBitsToFloat(ring.w) * b;
  }
  first = uvec4(floatBitsToUint(normal), floatBitsToUint(tangent.x));
  second = uvec4(floatBitsToUint(tangent.yz), 0u, 0u);
}`;

// One-sided splats are faded between these cosines of their normal to the way to the eye.
const FADE = 'smoothstep(-0.3, -0.1, facing)';

export const SPLATS = `${HEADER}${VERTEX}
uniform usampler2D frames0, frames1, look0, look1, rest;
uniform usampler2DArray changes;
uniform int count, rank;
uniform vec2 weights[16];          // of the expression basis: offsets in metres, colours
uniform vec3 eye, translation, light[9];
uniform vec2 logScales, colors;    // least, range
uniform float offsetStep, detail;  // detail: how much larger, where fewer are drawn
uniform bool lit, cull;
layout(location = 0) out uvec4 first;
layout(location = 1) out uvec4 second;
layout(location = 2) out uvec4 third;

vec3 bytes(uint v) { return vec3(float(v & 255u), float((v >> 8) & 255u), float((v >> 16) & 255u)); }
vec3 signedBytes(uint v) { return vec3(ivec3(int(v << 24), int(v << 16), int(v << 8)) >> 24); }
vec2 shorts(uint v) { return vec2(float(int(v << 16) >> 16), float(int(v) >> 16)); }

vec4 quaternion(uint v) {  // wxyz; two bits say which component was left out
  vec3 s = (vec3(float((v >> 20) & 1023u), float((v >> 10) & 1023u), float(v & 1023u)) / 1023.0 * 2.0 - 1.0) * 0.7071067811865476;
  float largest = sqrt(max(0.0, 1.0 - dot(s, s)));
  uint which = v >> 30;
  return which == 0u ? vec4(largest, s) : which == 1u ? vec4(s.x, largest, s.yz)
    : which == 2u ? vec4(s.xy, largest, s.z) : vec4(s, largest);
}
mat3 rotation(vec4 q) {
  float w = q.x, x = q.y, y = q.z, z = q.w;
  return mat3(1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y),
    2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x),
    2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y));
}
void surface(uint v, float weight, inout vec3 position, inout vec3 normal, inout vec3 tangent) {
  ivec2 at = vertexAt(v);
  uvec4 a = texelFetch(frames0, at, 0), b = texelFetch(frames1, at, 0);
  position += weight * texelFetch(points, at, 0).xyz;
  normal += weight * uintBitsToFloat(a.xyz);
  tangent += weight * uintBitsToFloat(uvec3(a.w, b.xy));
}
void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  int n = at.x + at.y * ${TEXTURE_WIDTH};
  if (n >= count) { first = second = third = uvec4(0u); return; }
  uvec4 a = texelFetch(look0, at, 0), b = texelFetch(look1, at, 0), r = texelFetch(rest, at, 0);
  vec2 bary = vec2(float(a.z & 65535u), float(a.z >> 16)) / 65535.0;
  vec3 position = vec3(0.0), normal = vec3(0.0), tangent = vec3(0.0);
  surface(a.x & 65535u, 1.0 - bary.x - bary.y, position, normal, tangent);
  surface(a.x >> 16, bary.x, position, normal, tangent);
  surface(a.y & 65535u, bary.y, position, normal, tangent);

  float area = max(length(normal), 1e-12);
  normal /= area;
  tangent -= normal * dot(normal, tangent);
  float grown = max(length(tangent), 1e-12);
  tangent /= grown;
  mat3 frame = mat3(tangent, cross(normal, tangent), normal);
  vec2 before = uintBitsToFloat(r.xy);
  float along = grown / before.x;
  vec3 growth = vec3(clamp(vec2(along, area / before.y / max(along, 1e-3)), 0.3, 3.0), 1.0);

  vec3 offset = vec3(shorts(b.x), shorts(b.y).x) * offsetStep;
  vec3 color = bytes(b.w) / 255.0 * colors.y + colors.x;
  for (int k = 0; k < rank; k++) {
    uvec4 change = texelFetch(changes, ivec3(at, k), 0);
    offset += weights[k].x * signedBytes(change.x);
    color += weights[k].y * signedBytes(change.y);
  }
  vec3 mean = position + frame * offset;
  vec3 scale = exp(bytes(b.z) / 255.0 * logScales.y + logScales.x) * growth * detail;
  mat3 axes = frame * rotation(quaternion(a.w));
  axes = mat3(axes[0] * scale.x, axes[1] * scale.y, axes[2] * scale.z);
  mat3 covariance = axes * transpose(axes);

  uint flags = a.y >> 16;
  if (lit && (flags & 1u) != 0u) {
    float x = normal.x, y = normal.y, z = normal.z;
    vec3 factor = light[0] + light[1] * y + light[2] * z + light[3] * x + light[4] * (x * y)
      + light[5] * (y * z) + light[6] * (3.0 * z * z - 1.0) + light[7] * (x * z) + light[8] * (x * x - y * y);
    color *= max(factor, 0.05);
  }
  float opacity = float(b.z >> 24) / 255.0;
  if (cull && (flags & 2u) != 0u) {
    float facing = dot(normal, normalize(eye - position));
    opacity *= ${FADE};
  }
  color = max(color, 0.0);
  first = uvec4(floatBitsToUint(mean + translation), packHalf2x16(color.rg));
  second = floatBitsToUint(vec4(covariance[0].xyz, covariance[1].y));
  third = uvec4(floatBitsToUint(vec2(covariance[1].z, covariance[2].z)), packHalf2x16(vec2(color.b, opacity)), 0u);
}`;

const FETCH = `
uniform usampler2D splats0, splats1, splats2;
uniform mat4 view, projection;
ivec2 splatAt(uint n) { return ivec2(int(n) & ${TEXTURE_WIDTH - 1}, int(n) >> ${Math.log2(TEXTURE_WIDTH)}); }
`;

// Each Gaussian as a quad just as large as the ellipse where it reaches 1/255.
export const DRAW_VERTEX = `${HEADER}${FETCH}
uniform usampler2D order;
uniform vec2 viewport;   // px
uniform float layers;    // above 0: show how many layers cover a pixel
out vec4 color;
out vec2 at;
void main() {
  gl_Position = vec4(0.0, 0.0, 2.0, 1.0);  // outside, unless it is seen
  uint n = texelFetch(order, splatAt(uint(gl_VertexID >> 2)), 0).x;
  ivec2 p = splatAt(n);
  uvec4 a = texelFetch(splats0, p, 0), b = texelFetch(splats1, p, 0), c = texelFetch(splats2, p, 0);
  vec2 blueOpacity = unpackHalf2x16(c.z);
  color = vec4(unpackHalf2x16(a.w), blueOpacity);
  if (color.a < 1.0 / 255.0) return;
  vec3 seen = (view * vec4(uintBitsToFloat(a.xyz), 1.0)).xyz;
  float depth = -seen.z;
  if (depth < 0.01) return;
  vec4 s = uintBitsToFloat(b);
  vec2 t = uintBitsToFloat(c.xy);
  mat3 covariance = mat3(s.x, s.y, s.z, s.y, s.w, t.x, s.z, t.x, t.y);

  // Jacobian of the projection, at most at the edge of a wider frustum.
  vec2 focal = vec2(projection[0][0], projection[1][1]);
  vec2 shift = vec2(projection[2][0], projection[2][1]);
  vec2 slope = seen.xy / depth;
  vec2 held = clamp(slope, (shift - 1.3) / focal, (shift + 1.3) / focal);
  vec2 pixels = 0.5 * viewport * focal;
  mat3 world = mat3(view);
  vec3 u = (vec3(world[0].x, world[1].x, world[2].x) + held.x * vec3(world[0].z, world[1].z, world[2].z)) * (pixels.x / depth);
  vec3 v = (vec3(world[0].y, world[1].y, world[2].y) + held.y * vec3(world[0].z, world[1].z, world[2].z)) * (pixels.y / depth);
  vec3 cu = covariance * u, cv = covariance * v;
  float xx = dot(u, cu) + 0.3, xy = dot(u, cv), yy = dot(v, cv) + 0.3;

  float middle = 0.5 * (xx + yy), spread = sqrt(max(0.25 * (xx - yy) * (xx - yy) + xy * xy, 0.0));
  float major = middle + spread, minor = max(middle - spread, 0.05);
  vec2 axis = abs(xy) < 1e-6 ? (xx >= yy ? vec2(1.0, 0.0) : vec2(0.0, 1.0)) : normalize(vec2(xy, major - xx));
  // Beyond sqrt(6.5) sigma 4 % of it is left: two thirds more pixels for 3 dB that no eye sees.
  float reach = sqrt(min(6.5, 2.0 * log(color.a * 255.0)));
  at = vec2(float((gl_VertexID & 1) * 2 - 1), float((gl_VertexID >> 1 & 1) * 2 - 1)) * reach;
  vec2 corner = at.x * sqrt(major) * axis + at.y * sqrt(minor) * vec2(axis.y, -axis.x);
  vec4 clip = projection * vec4(seen, 1.0);
  gl_Position = vec4(clip.xy + 2.0 * corner / viewport * clip.w, clip.zw);
  if (layers > 0.0) color = vec4(vec3(layers), -reach * reach);
}`;

export const DRAW_FRAGMENT = `${HEADER}
in vec4 color;
in vec2 at;
out vec4 pixel;
void main() {
  if (color.a < 0.0) {  // count layers
    if (dot(at, at) > -color.a) discard;
    pixel = vec4(color.rgb, 1.0);
    return;
  }
  float alpha = min(0.999, color.a * exp(-0.5 * dot(at, at)));
  if (alpha < 1.0 / 255.0) discard;
  pixel = vec4(color.rgb * alpha, alpha);
}`;

export const CENTRES_VERTEX = `${HEADER}${FETCH}
uniform float size;
out vec4 color;
void main() {
  ivec2 p = splatAt(uint(gl_VertexID));
  uvec4 a = texelFetch(splats0, p, 0), c = texelFetch(splats2, p, 0);
  vec2 blueOpacity = unpackHalf2x16(c.z);
  gl_Position = blueOpacity.y < 1.0 / 255.0 ? vec4(0.0, 0.0, 2.0, 1.0)
    : projection * view * vec4(uintBitsToFloat(a.xyz), 1.0);
  gl_PointSize = size;
  color = vec4(unpackHalf2x16(a.w), blueOpacity.x, 1.0);
}`;

export const WIRE_VERTEX = `${HEADER}${VERTEX}
uniform mat4 view, projection;
uniform vec3 translation;
uniform vec4 tint;
layout(location = 0) in uint vertex;
out vec4 color;
void main() {
  gl_Position = projection * view * vec4(texelFetch(points, vertexAt(vertex), 0).xyz + translation, 1.0);
  color = tint;
}`;

export const PLAIN_FRAGMENT = `${HEADER}
in vec4 color;
out vec4 pixel;
void main() { pixel = vec4(color.rgb * color.a, color.a); }`;
