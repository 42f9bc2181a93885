// The few helpers that make elements.
type Child = Node | string | null | false;
type Attributes = Record<string, string | number | boolean | null | undefined | ((event: Event) => void)>;

/** An element with attributes, listeners (`onclick`) and children. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K, attributes: Attributes = {}, ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child): child is Node | string => child !== null && child !== false));
  return element;
}

export function byId<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

export interface Slider {
  element: HTMLElement;
  set(value: number): void;
}

let serial = 0;

/** A labelled slider that says its value; double-click resets it. */
export function slider(
  label: string, options: { min: number; max: number; step?: number; value: number; format?: (v: number) => string; title?: string },
  onInput: (value: number) => void,
): Slider {
  const id = `s${++serial}`;
  const format = options.format ?? ((value: number) => value.toFixed(2));
  const input = h('input', {
    type: 'range', id, min: options.min, max: options.max, step: options.step ?? 0.01,
    'aria-label': label, title: options.title ?? label,
  });
  const output = h('output', { for: id });
  const show = (value: number) => {
    input.value = String(value);
    output.value = format(value);
    input.setAttribute('aria-valuetext', output.value);
  };
  show(options.value);
  const change = () => {
    show(Number(input.value));
    onInput(Number(input.value));
  };
  input.addEventListener('input', change);
  input.addEventListener('dblclick', () => {
    show(options.value);
    onInput(options.value);
  });
  const element = h('div', { class: 'slider' }, h('label', { for: id }, label), output, input);
  return { element, set: show };
}

export function check(label: string, value: boolean, onChange: (on: boolean) => void): { element: HTMLElement; set(on: boolean): void } {
  const input = h('input', { type: 'checkbox' });
  input.checked = value;
  input.addEventListener('change', () => onChange(input.checked));
  return { element: h('label', { class: 'check' }, input, label), set: (on) => (input.checked = on) };
}

/** A button that opens files. */
export function fileButton(label: string, accept: string, multiple: boolean, onFiles: (files: File[]) => void): HTMLElement {
  const input = h('input', { type: 'file', accept, multiple, 'aria-label': label });
  input.addEventListener('change', () => {
    onFiles([...(input.files ?? [])]);
    input.value = '';
  });
  return h('label', { class: 'file' }, label, input);
}

export function toggle(label: string, pressed: boolean, onChange: (on: boolean) => void): { element: HTMLButtonElement; set(on: boolean): void } {
  const element = h('button', { type: 'button', 'aria-pressed': String(pressed) }, label);
  const set = (on: boolean) => element.setAttribute('aria-pressed', String(on));
  element.addEventListener('click', () => {
    const on = element.getAttribute('aria-pressed') !== 'true';
    set(on);
    onChange(on);
  });
  return { element, set };
}
