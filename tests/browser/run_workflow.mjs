// Open ComfyUI's page, load a workflow, press Run, wait until it is done, press Run again, and print as JSON what the page
// shows after the first run, and which nodes the second one took from the cache.
// Usage: node run_workflow.mjs URL CHROMIUM WORKFLOW.json SCREENSHOT.png vue|classic
import { readFileSync } from "node:fs";

import { chromium } from "playwright-core";

const [url, executablePath, workflowFile, screenshot, design] = process.argv.slice(2);
const settings = { "Comfy.TutorialCompleted": true, "Comfy.VueNodes.Enabled": design === "vue" };
await fetch(`${url}/api/settings`, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(settings),
});

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  const page = await browser.newPage({ viewport: { width: 1900, height: 1000 } });
  const pageErrors = [];
  page.on("pageerror", (error) => pageErrors.push(error.message));
  await page.goto(url);
  await page.waitForFunction(() => window.app?.graph && window.app.extensions?.length > 10);
  await page.waitForTimeout(1500);

  const workflow = JSON.parse(readFileSync(workflowFile, "utf8"));
  await page.evaluate((graph) => window.app.loadGraphData(graph), workflow);
  const loaded = await page.evaluate(() =>
    window.app.graph._nodes.map((node) => ({
      type: node.type,
      known: Boolean(window.LiteGraph.registered_node_types[node.type]),
      values: node.widgets_values ?? node.widgets?.map((widget) => widget.value),
      places: node.inputs?.length ?? 0,
      links: node.inputs?.filter((input) => input.link != null).length ?? 0,
    })),
  );
  await page.evaluate(() => {
    window.ran = { done: false, failed: "", outputs: {}, progress: 0 };
    window.app.api.addEventListener("executed", ({ detail }) => (window.ran.outputs[detail.node] = detail.output));
    window.app.api.addEventListener("progress_state", () => (window.ran.progress += 1));
    window.app.api.addEventListener("execution_error", ({ detail }) => (window.ran.failed = detail.exception_message));
    window.app.api.addEventListener("execution_success", () => (window.ran.done = true));
  });
  await page.click('button[data-testid="queue-button"]');
  await page.waitForFunction(() => window.ran.done || window.ran.failed, null, { timeout: 90_000 });
  await page.waitForTimeout(1000);
  const ran = await page.evaluate(() => window.ran);
  const shown = await page.evaluate(() =>
    window.app.graph._nodes.map((node) => ({
      type: node.type,
      pictures: node.imgs?.length ?? 0,
      slider: node.widgets?.find((widget) => widget.type === "imagecompare")?.value ?? null,
    })),
  );
  await page.evaluate(() => {
    window.ran = { ...window.ran, done: false, cached: [] };
    window.app.api.addEventListener("execution_cached", ({ detail }) => (window.ran.cached = detail.nodes));
  });
  await page.click('button[data-testid="queue-button"]');
  await page.waitForFunction(() => window.ran.done || window.ran.failed, null, { timeout: 90_000 });
  const cached = await page.evaluate(() => window.ran.cached);
  const help = await page.evaluate(async () => (await fetch("/extensions/gpen-portrait/docs/GPEN_PasteFaces.md")).text());
  await page.screenshot({ path: screenshot });
  console.log(JSON.stringify({ loaded, ran, shown, cached, pageErrors, help }));
} finally {
  await browser.close();
}
