// What callers of the openai package for Node do. Run as scenario.py says: a name, JSON on stdin, JSON on stdout.
import fs from "node:fs";
import OpenAI from "openai";

const scenarios = {
  // A video from its creation, with a picture as the package streams it, to its deletion.
  async life({ url, key, picture, out }) {
    const { videos } = new OpenAI({ baseURL: url, apiKey: key });
    const created = await videos.create({
      prompt: "the mill turns",
      input_reference: fs.createReadStream(picture),
      num_inference_steps: 1,
      seed: 11,
    });
    const done = await finished(videos, created.id);
    const content = await videos.downloadContent(created.id);
    fs.writeFileSync(`${out}/video`, Buffer.from(await content.arrayBuffer()));
    return { created, done, deleted: await videos.delete(created.id) };
  },

  // The same picture by its URL, an object that this package puts into the form itself.
  async image_url({ url, key, picture_url }) {
    const { videos } = new OpenAI({ baseURL: url, apiKey: key });
    const input_reference = { image_url: picture_url };
    const created = await videos.create({ prompt: "the mill turns", input_reference, num_inference_steps: 1 });
    return finished(videos, created.id);
  },

  // Three videos, listed two to a page.
  async pages({ url, key }) {
    const { videos } = new OpenAI({ baseURL: url, apiKey: key });
    const made = [];
    for (const prompt of ["one", "two", "three"]) {
      made.push((await videos.create({ prompt, num_inference_steps: 1, num_frames: 9 })).id);
    }
    const listed = [];
    for await (const video of videos.list({ limit: 2, order: "asc" })) listed.push(video.id);
    for (const id of made) await videos.delete(id);
    return { made, listed };
  },

  async refusals({ url, key }) {
    const { videos } = new OpenAI({ baseURL: url, apiKey: key, maxRetries: 0 });
    const stranger = new OpenAI({ baseURL: url, apiKey: "nobody.secret", maxRetries: 0 });
    return {
      "no such key": await refusal(() => stranger.videos.list()),
      "no such model": await refusal(() => videos.create({ prompt: "x", model: "no-such-model" })),
      "no such video": await refusal(() => videos.retrieve("video_0198c5a7e3b97d6f8a0c1f2e3d4c5b6a")),
    };
  },
};

async function finished(videos, id) {
  for (;;) {
    const video = await videos.retrieve(id);
    if (!["queued", "in_progress"].includes(video.status)) return video;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function refusal(call) {
  try {
    await call();
  } catch (error) {
    return { kind: error.constructor.name, status: error.status, code: error.code, param: error.param };
  }
  throw new Error("was not refused");
}

const given = JSON.parse(fs.readFileSync(0, "utf8"));
console.log(JSON.stringify(await scenarios[process.argv[2]](given)));
