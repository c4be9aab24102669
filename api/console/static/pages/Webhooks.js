// Webhooks: where events go, what became of each, and the secrets that sign them.
import { html } from "../lib/ui.js";
import { t } from "../lib/words.js";
import { Page } from "../parts/Card.js";
import { Tabs } from "../parts/Tabs.js";
import { Deliveries } from "./webhooks/Deliveries.js";
import { Endpoints } from "./webhooks/Endpoints.js";
import { TenantSecret } from "./webhooks/Secret.js";

export const Webhooks = () => html`
  <${Page} title=${t("nav.webhooks")} lead=${t("webhooks.lead")}>
    <${Tabs} label=${t("nav.webhooks")} tabs=${[
      { name: "endpoints", title: t("webhooks.endpoints"), show: () => html`<${Endpoints} />` },
      { name: "deliveries", title: t("webhooks.deliveries"), show: () => html`<${Deliveries} />` },
      { name: "secret", title: t("webhooks.secret"), show: () => html`<${TenantSecret} />` },
    ]} />
  </${Page}>
`;
