// The line to `avatar3d view`: what the server says, checked, and what the page asks of it.
import { TO_PAGE, type ToPage, type ToServer } from '../messages.ts';

const RETRY_MS = [500, 1000, 2000, 4000, 8000];

export interface Handlers {
  message: (message: ToPage) => void;
  /** The line is up (true) or lost (false); not called while the first try runs. */
  line: (up: boolean) => void;
}

export class Connection {
  private socket: WebSocket | null = null;
  private tries = 0;

  constructor(private readonly handlers: Handlers) {
    this.open();
  }

  send(message: ToServer): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  private open(): void {
    const url = new URL('live', location.href);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    url.search = url.hash = '';
    const socket = (this.socket = new WebSocket(url));
    socket.onopen = () => {
      if (this.tries > 0) this.handlers.line(true);
      this.tries = 0;
    };
    socket.onmessage = ({ data }) => {
      const message = typeof data === 'string' ? parse(data) : null;
      if (message) this.handlers.message(message);
    };
    socket.onclose = () => {
      if (this.tries === 0) this.handlers.line(false);
      setTimeout(() => this.open(), RETRY_MS[Math.min(this.tries++, RETRY_MS.length - 1)]);
    };
  }
}

/** A message of the kinds that messages.ts knows, or null. */
export function parse(text: string): ToPage | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const message = value as Record<string, unknown>;
  const kind = message['type'];
  const fields = typeof kind === 'string' && Object.hasOwn(TO_PAGE, kind) ? TO_PAGE[kind as ToPage['type']] : undefined;
  if (!fields) return null;
  const good = Object.entries(fields).every(([field, type]) =>
    type.split(' | ').some((part) => is(message[field], part)),
  );
  return good ? (value as ToPage) : null;
}

function is(value: unknown, type: string): boolean {
  if (type === 'null') return value === null;
  if (type === 'number[]') return Array.isArray(value) && value.every((item) => Number.isFinite(item));
  return typeof value === type;
}
