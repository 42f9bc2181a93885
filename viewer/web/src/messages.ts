// Written by `python -m viewer.messages`; change viewer/messages.py instead.

/** The first message to a page: what it may show and ask for. */
export interface Hello {
  type: 'Hello';
  version: string;
  avatar: string | null;
  name: string | null;
  file: string | null;
  motion: string | null;
  can_create: boolean;
  max_upload_bytes: number;
  warning: string | null;
}

/** Show this avatar now. */
export interface AvatarReady {
  type: 'AvatarReady';
  url: string;
  name: string;
  file: string | null;
}

/** An expression code to show now. */
export interface LiveCode {
  type: 'LiveCode';
  coefficients: number[];
  head_rotation: number[];
  head_translation: number[];
  neck_rotation: number[];
}

/** How far the making of an avatar is. */
export interface JobProgress {
  type: 'JobProgress';
  job: string;
  stage: string;
  done: number;
  total: number;
}

/** An avatar could not be made; the sentence is for the user. */
export interface JobFailed {
  type: 'JobFailed';
  job: string;
  sentence: string;
}

/** From the page: stop making this avatar. */
export interface CancelJob {
  type: 'CancelJob';
  job: string;
}

export type ToPage = Hello | AvatarReady | LiveCode | JobProgress | JobFailed;
export type ToServer = CancelJob | LiveCode;

/** Fields of each message to the page, to check what arrives. */
export const TO_PAGE: Record<ToPage['type'], Record<string, string>> = {
  Hello: { version: 'string', avatar: 'string | null', name: 'string | null', file: 'string | null', motion: 'string | null', can_create: 'boolean', max_upload_bytes: 'number', warning: 'string | null' },
  AvatarReady: { url: 'string', name: 'string', file: 'string | null' },
  LiveCode: { coefficients: 'number[]', head_rotation: 'number[]', head_translation: 'number[]', neck_rotation: 'number[]' },
  JobProgress: { job: 'string', stage: 'string', done: 'number', total: 'number' },
  JobFailed: { job: 'string', sentence: 'string' },
};
