// The whole bootstrap with npm's foundry-local-sdk 0.x. Arguments: node_modules, alias, question.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [modules, alias, question] = process.argv.slice(2);
const from = createRequire(modules + "/");
const load = async (name) => import(pathToFileURL(from.resolve(name)).href);
const { FoundryLocalManager } = await load("foundry-local-sdk");
const { default: OpenAI } = await load("openai");

const told = {};
const manager = new FoundryLocalManager();
told["running before"] = await manager.isServiceRunning();
await manager.startService();
const progress = [];
const downloaded = await manager.downloadModel(alias, undefined, undefined, true, (percent) => progress.push(percent));
told.downloaded = downloaded.id;
told.progress = progress.every((percent) => percent >= 0 && percent <= 100);
const model = await manager.init(alias);
told.model = model.id;
told.endpoint = manager.endpoint;
told.catalog = (await manager.listCatalogModels()).map((each) => each.id);
told.cached = (await manager.listCachedModels()).map((each) => each.id);
told.loaded = (await manager.listLoadedModels()).map((each) => each.id);
told.location = await manager.getCacheLocation();
told.upgradeable = await manager.isModelUpgradeable(alias);
const client = new OpenAI({ baseURL: manager.endpoint, apiKey: manager.apiKey });
const messages = [{ role: "user", content: question }];
const asked = { model: model.id, messages, max_tokens: 16, temperature: 0 };
told.answer = (await client.chat.completions.create(asked)).choices[0].message.content;
told.streamed = "";
for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
  told.streamed += chunk.choices[0]?.delta?.content ?? "";
}
await manager.unloadModel(alias);
told["loaded after unload"] = (await manager.listLoadedModels()).map((each) => each.id);
await manager.unloadModel(alias, undefined, true);
told["loaded after force"] = (await manager.listLoadedModels()).map((each) => each.id);
console.log(JSON.stringify(told));
