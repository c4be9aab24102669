// Every page: its path, its place in the navigation, and the file it is loaded from when it is first shown.

/**
 * @typedef {{name: string, path: string, load: () => Promise<Record<string, any>>, group?: "work" | "machines" | "settings",
 *   key?: string, right?: string, admin?: boolean}} Route
 *   `name`: of its icon, its words ("nav.NAME") and its file's component; `group`: its place in the navigation, none for
 *   pages that are led to; `key`: the letter after `g`; `admin`: for all tenants' views; `right`: for who has it; with both either is enough
 */

/** @type {Route[]} */
export const ROUTES = [
  { name: "overview", path: "/", load: () => import("./pages/Overview.js"), group: "work", key: "o" },
  { name: "jobs", path: "/jobs", load: () => import("./pages/Jobs.js"), group: "work", key: "j" },
  { name: "job", path: "/jobs/:id", load: () => import("./pages/Job.js") },
  {
    name: "gallery",
    path: "/gallery",
    load: () => import("./pages/Gallery.js"),
    group: "work",
    key: "v",
    right: "read",
  },
  {
    name: "campaigns",
    path: "/campaigns",
    load: () => import("./pages/Campaigns.js"),
    group: "work",
    key: "c",
    right: "read",
  },
  { name: "campaign", path: "/campaigns/:id", load: () => import("./pages/Campaign.js") },
  { name: "review", path: "/review", load: () => import("./pages/Review.js"), group: "work", key: "r", right: "read" },
  { name: "newvideo", path: "/new/video", load: () => import("./pages/NewVideo.js"), right: "submit" },
  { name: "newcampaign", path: "/new/campaign", load: () => import("./pages/NewCampaign.js"), right: "campaigns" },
  { name: "fleet", path: "/fleet", load: () => import("./pages/Fleet.js"), group: "machines", key: "f" },
  { name: "usage", path: "/usage", load: () => import("./pages/Usage.js"), group: "machines", key: "u" },
  {
    name: "tenants",
    path: "/tenants",
    load: () => import("./pages/Tenants.js"),
    group: "settings",
    key: "t",
    admin: true,
    right: "keys",
  },
  { name: "tenant", path: "/tenants/:id", load: () => import("./pages/Tenant.js"), admin: true },
  {
    name: "webhooks",
    path: "/webhooks",
    load: () => import("./pages/Webhooks.js"),
    group: "settings",
    key: "w",
    right: "webhooks",
  },
  { name: "audit", path: "/audit", load: () => import("./pages/Audit.js"), group: "settings", key: "a", admin: true },
  { name: "parts", path: "/parts", load: () => import("./pages/Parts.js") },
];
