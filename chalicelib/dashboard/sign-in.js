// Signing in: with a token, which stays in this tab.

import { html, useState } from "./preact.js";
import { Field } from "./parts.js";
import { reasonSignedOut, signIn } from "./session.js";

export function SignIn({ stage }) {
  const [text, setText] = useState("");
  const [wrong, setWrong] = useState(null);
  const submit = (event) => {
    event.preventDefault();
    setWrong(signIn(text));
  };
  return html`<main class="sign-in">
    <h1>queue-service <span class="stage">${stage}</span></h1>
    ${reasonSignedOut() && html`<p class="failure" role="alert">${reasonSignedOut()}</p>`}
    <form onSubmit=${submit}>
      <${Field} name="token" label="Token" kind="password" required value=${text} onInput=${setText} autofocus hint=${stage === "local" ? "On this machine: make token" : "A JSON Web Token of an admin or a venue_admin. It stays in this tab and goes when the tab does."} />
      ${wrong && html`<p class="failure" role="alert">${wrong}</p>`}
      <button class="primary" type="submit">Sign in</button>
    </form>
  </main>`;
}
