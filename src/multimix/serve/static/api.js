// The service's own API, and nothing else: no address but this page's is ever asked.

let token = ""; // kept in memory only; a reload asks again

export function setToken(value) {
  token = value;
}

/** What the service said no with; `status` is 0 where it could not be reached, `answer` its document. */
export class ApiError extends Error {
  constructor(status, message, answer = {}) {
    super(message);
    this.status = status;
    this.answer = answer;
  }
}

async function ask(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The service cannot be reached; look whether it still runs.");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(response.status, answer.detail ?? `The service answered ${response.status}.`, answer);
  return answer;
}

export const model = () => ask("/v1/model");

/** The document for one file; `pictures` asks for all that the page shows, without it the words alone come. */
export async function predict(file, { force = false, pictures = true, signal }) {
  const body = new FormData();
  body.append("files", file, file.name);
  const wanted = pictures ? "&pixels=true&header=true&mask=true&saliency=true&stability=true" : "";
  try {
    return await ask(`/v1/predict?force=${force}${wanted}`, { method: "POST", body, signal });
  } catch (error) {
    if (error.status === 422 && error.answer?.files?.[0].status === "rejected") return error.answer;
    throw error;
  }
}
