// The tab with the 52 coefficients: groups, search, presets, reset.
import { ARKIT_NAMES, EXPRESSIONS } from '../names.ts';
import { check, h, slider, type Slider } from './dom.ts';

const GROUPS: [string, RegExp][] = [
  ['Eyes', /^eye(Blink|Squint|Wide)/],
  ['Gaze', /^eyeLook/],
  ['Brows', /^brow/],
  ['Jaw', /^jaw/],
  ['Mouth: smile and shape', /^mouth(Smile|Frown|Dimple|Stretch|Pucker|Funnel|Left|Right)/],
  ['Lips', /^mouth/],
  ['Cheeks, nose, tongue', /^(cheek|nose|tongue)/],
];

/** "mouthSmileLeft" as "Mouth smile left". */
export function words(name: string): string {
  const text = name.replace(/([A-Z])/g, ' $1').toLowerCase();
  return text[0]!.toUpperCase() + text.slice(1);
}

const other = (name: string) =>
  name.endsWith('Left') ? name.replace(/Left$/, 'Right') : name.replace(/Right$/, 'Left');
const paired = (name: string) => /(Left|Right)$/.test(name) && !/^(jaw|mouth)(Left|Right)$/.test(name);

export interface ExpressionTab {
  element: HTMLElement;
  /** Show these values, coming from elsewhere. */
  show(coefficients: ArrayLike<number>): void;
}

export function expressionTab(change: (values: Record<string, number>) => void, reset: () => void): ExpressionTab {
  const sliders = new Map<string, Slider>();
  const current = new Float32Array(ARKIT_NAMES.length);
  let both = true;

  const put = (values: Record<string, number>) => {
    for (const [name, value] of Object.entries(values)) {
      current[(ARKIT_NAMES as readonly string[]).indexOf(name)] = value;
      sliders.get(name)?.set(value);
    }
    change(values);
    count();
  };
  const rest = new Set<string>(ARKIT_NAMES);
  const groups = GROUPS.map(([title, pattern], index) => {
    const names = [...rest].filter((name) => pattern.test(name));
    names.forEach((name) => rest.delete(name));
    const rows = h('div');
    for (const name of names) {
      const made = slider(words(name), { min: 0, max: 1, value: 0, title: name }, (value) =>
        put(both && paired(name) ? { [name]: value, [other(name)]: value } : { [name]: value }),
      );
      made.element.dataset['name'] = name;
      sliders.set(name, made);
      rows.append(made.element);
    }
    const used = h('span', { class: 'count' });
    const again = h('button', { type: 'button', onclick: () => put(Object.fromEntries(names.map((n) => [n, 0]))) }, 'Reset group');
    rows.append(again);
    const element = h('details', { open: index === 0 }, h('summary', {}, `${title} `, used), rows);
    return { element, names, used };
  });
  const count = () => {
    for (const { names, used } of groups) {
      const moved = names.filter((name) => current[(ARKIT_NAMES as readonly string[]).indexOf(name)]! > 0.005).length;
      used.textContent = moved ? `(${moved} of ${names.length})` : '';
    }
  };

  const search = h('input', { type: 'search', placeholder: 'Search, e.g. smile', 'aria-label': 'Search coefficients' });
  const none = h('p', { class: 'soft', hidden: true }, 'No coefficient has this in its name.');
  let opened: boolean[] | null = null;
  search.addEventListener('input', () => {
    const wanted = search.value.toLowerCase().replace(/\s+/g, '');
    opened ??= groups.map(({ element }) => element.open);
    let found = 0;
    groups.forEach(({ element, names }, i) => {
      let here = 0;
      for (const name of names) {
        const match = name.toLowerCase().includes(wanted);
        sliders.get(name)!.element.hidden = !match;
        here += Number(match);
      }
      element.hidden = here === 0;
      element.open = wanted ? here > 0 : opened![i]!;
      found += here;
    });
    if (!wanted) opened = null;
    none.hidden = found > 0;
  });
  const clear = () => put(Object.fromEntries(ARKIT_NAMES.map((name) => [name, 0])));
  const presets = h('div', { class: 'row', role: 'group', 'aria-label': 'Expressions' });
  for (const [name, values] of Object.entries(EXPRESSIONS))
    presets.append(
      h('button', { type: 'button', onclick: () => (clear(), put(values)) }, name[0]!.toUpperCase() + name.slice(1)),
    );

  const element = h(
    'div', {},
    h('div', { class: 'row' }, search, h('button', { type: 'button', title: 'Everything back to neutral', onclick: () => (clear(), reset()) }, 'Reset')),
    check('Move left and right together', true, (on) => (both = on)).element,
    presets, none, ...groups.map((group) => group.element),
  );
  return {
    element,
    show(coefficients) {
      ARKIT_NAMES.forEach((name, i) => {
        const value = coefficients[i] ?? 0;
        if (Math.abs(value - current[i]!) < 0.004) return;
        current[i] = value;
        sliders.get(name)!.set(value);
      });
      count();
    },
  };
}
