// npm's `@typesafe-ai/sdk`, unmodified.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, baseURL, model] = process.argv.slice(2);
const found = createRequire(`${folder}/package.json`).resolve("@typesafe-ai/sdk");
const { choice, noul, score, TypeSafeClient } = await import(pathToFileURL(found));

const client = new TypeSafeClient({ apiKey: "none", baseURL, defaultModel: model, timeout: 120000 });
const made = await client.systemOne({
  state: ["The parcel came two weeks late.", "The box was broken."],
  questions: {
    late: noul("Was the parcel late?"),
    untold: noul(null, { true: "The parcel was late." }),
    about: choice("What is it about?", { delivery: "parcels and their time", price: null }),
    anger: score("How angry is the customer?", ["calm", "angry"]),
  },
});
console.log(JSON.stringify(made));
