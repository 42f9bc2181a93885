// Photos to the server, which makes an avatar of them (viewer/server.py); progress comes by message.
import { showProgress } from './notes.ts';

const MAX_SIDE = 2048; // px; more shows nothing more of a face, and takes long to send

/** Send photos; the server answers with a job's name, and with progress over the line. */
export async function makePhotos(photos: File[], maxBytes: number, cancel: (job: string) => void): Promise<void> {
  const parts: Blob[] = [];
  for (const photo of photos) parts.push(await smaller(photo));
  const total = parts.reduce((sum, part) => sum + part.size, 0);
  if (total > maxBytes)
    throw new Error(`The photos have ${(total / 2 ** 20).toFixed(0)} MB, the server takes ${(maxBytes / 2 ** 20).toFixed(0)}; choose fewer or smaller ones.`);
  showProgress({ share: 0, text: 'Sending the photos …' });
  let response: Response;
  try {
    response = await fetch('avatars', {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream', 'x-photo-sizes': parts.map((part) => part.size).join() },
      body: new Blob(parts),
    });
  } catch {
    showProgress(null);
    throw new Error('The photos could not be sent: the server does not answer.');
  }
  const text = await response.text();
  if (!response.ok) {
    showProgress(null);
    throw new Error(text || `The server refuses the photos (${response.status}).`);
  }
  showProgress({ share: 0.02, text: 'Making the avatar …', cancel: () => cancel(text) });
}

/** A photo no larger than is useful; what the browser cannot read goes as it is. */
async function smaller(photo: File): Promise<Blob> {
  try {
    const bitmap = await createImageBitmap(photo, { imageOrientation: 'from-image' });
    const scale = MAX_SIDE / Math.max(bitmap.width, bitmap.height);
    if (scale >= 1) return photo;
    const canvas = new OffscreenCanvas(Math.round(bitmap.width * scale), Math.round(bitmap.height * scale));
    canvas.getContext('2d')!.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    return await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.95 });
  } catch {
    return photo;
  }
}
