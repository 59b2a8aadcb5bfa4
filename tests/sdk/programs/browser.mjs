// npm's entry for browsers, as a page of another origin. Arguments: node_modules, URL, alias, origin.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [modules, serviceUrl, alias, origin] = process.argv.slice(2);
const from = createRequire(modules + "/");
const resolved = from.resolve("foundry-local-sdk/browser");
const { FoundryLocalManager } = await import(pathToFileURL(resolved).href);

// What a browser does around a page's requests: it sends the origin, and looks for the permission.
const asPage = async (input, init = {}) => {
  const response = await fetch(input, { ...init, headers: { ...init.headers, Origin: origin } });
  const allowed = response.headers.get("access-control-allow-origin");
  if (allowed !== "*" && allowed !== origin) throw new Error(`not allowed for ${origin}: ${input}`);
  return response;
};
const preflight = await fetch(`${serviceUrl}/v1/chat/completions`, {
  method: "OPTIONS",
  headers: {
    Origin: origin,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
  },
});
const told = { preflight: preflight.ok, methods: preflight.headers.get("access-control-allow-methods") };
try {
  const manager = new FoundryLocalManager({ serviceUrl, fetch: asPage });
  told.catalog = (await manager.listCatalogModels()).map((each) => each.id);
  told.model = (await manager.loadModel(alias)).id;
  told.loaded = (await manager.listLoadedModels()).map((each) => each.id);
} catch (error) {
  told.error = String(error);
}
console.log(JSON.stringify(told));
