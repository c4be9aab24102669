// Where campaigns come from: a tenant's own routes, or those of administrators, who see all tenants' and no templates.
import { api } from "../../lib/api.js";
import { may, ofAll, session } from "../../lib/session.js";

/** A campaign whole where it is one's own, else as administrators see it. @param {string} id one step of a path @param {AbortSignal} signal */
export async function readCampaign(id, signal) {
  const path = `/campaigns/${id}`;
  const own = async () => ({ ...(await api(`/v1${path}`, { signal })), own: true });
  if (!ofAll()) return own();
  const seen = await api(`/v1/admin${path}`, { signal });
  return seen.tenant === session.value?.tenant && may("read") ? own() : { ...seen, own: false };
}
