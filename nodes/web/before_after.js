// Feed the page's own image slider on the Before/After node: the page does so by itself only for its own node.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const address = (entry) => api.apiURL(`/view?${new URLSearchParams(entry)}`);

app.registerExtension({
  name: "GPEN.BeforeAfter",
  nodeCreated(node) {
    if (node.constructor.comfyClass !== "GPEN_BeforeAfter") return;
    const slider = node.widgets?.find((widget) => widget.type === "imagecompare");
    if (!slider) return; // an older page: the node shows the sheet
    slider.options.serialize = false; // its addresses are new after each run: sent along, they would make the node run again
    const hasSlider = Boolean(window.LiteGraph?.vueNodesMode);
    slider.hidden = !hasSlider;
    node.hideOutputImages = hasSlider; // one of the two, not both
    const onExecuted = node.onExecuted;
    node.onExecuted = function (output) {
      onExecuted?.call(this, output);
      slider.value = {
        beforeImages: (output.a_images ?? []).map(address),
        afterImages: (output.b_images ?? []).map(address),
      };
      slider.callback?.(slider.value);
    };
  },
});
