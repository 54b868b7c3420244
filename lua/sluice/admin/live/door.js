// SPDX-License-Identifier: MIT
// The way in: fetches the page itself, with the token where one is needed, and asks for that. Nothing of the page is here.
"use strict";
(() => {
  const TOKEN = "sluice.token", NOTICE = "sluice.notice", TOKEN_TEXT = /^[\x21-\x7e]+$/;
  const door = document.querySelector(".door"), form = door.querySelector("form");
  const field = document.getElementById("door-token"), problem = document.getElementById("door-problem");
  // The one place where text becomes code: what this server answers to an administrator. The page itself is left no such way.
  const same = (text) => text;
  const trusted = window.trustedTypes
    ? window.trustedTypes.createPolicy("sluice", { createHTML: same, createScript: same }) : { createHTML: same, createScript: same };

  // A token in the address (?token=) is taken out of it, so that it is not in what is copied from there.
  const address = new URL(location.href), brought = address.searchParams.get("token");
  if (brought !== null) {
    if (TOKEN_TEXT.test(brought)) sessionStorage.setItem(TOKEN, brought);
    address.searchParams.delete("token");
    history.replaceState(null, "", address);
  }

  const headers = (more) => {
    const token = sessionStorage.getItem(TOKEN);
    return token ? { ...more, Authorization: "Bearer " + token } : { ...more };
  };

  const tell = (text) => {
    problem.textContent = text;
    problem.hidden = !text;
  };

  const show = (text, needsToken) => {
    door.hidden = false;
    for (const element of [field, field.labels[0], document.getElementById("door-note"), form.querySelector("button")]) element.hidden = !needsToken;
    document.getElementById("door-again").hidden = needsToken;
    tell(text);
    if (needsToken) field.focus();
  };

  const enter = (page) => {
    const style = document.createElement("style"), script = document.createElement("script");
    style.textContent = page.style;
    document.head.append(style);
    document.body.innerHTML = trusted.createHTML(page.body);
    // For the page, which takes it away: what it needs of the door.
    window.sluiceDoor = {
      headers,
      signedIn: sessionStorage.getItem(TOKEN) !== null,
      leave: (notice) => {
        sessionStorage.removeItem(TOKEN);
        if (notice) sessionStorage.setItem(NOTICE, notice);
        location.reload();
      },
    };
    script.textContent = trusted.createScript(page.script);
    document.body.append(script);
  };

  const knock = async () => {
    let answer, said;
    try {
      answer = await fetch("page", { headers: headers({ Accept: "application/json" }), cache: "no-store", credentials: "same-origin" });
      said = await answer.json();
    } catch {
      return show("The server cannot be reached.", false);
    }
    if (answer.ok) return enter(said);
    const tried = sessionStorage.getItem(TOKEN) !== null;
    const notice = sessionStorage.getItem(NOTICE) ?? "";
    sessionStorage.removeItem(TOKEN);
    sessionStorage.removeItem(NOTICE);
    // 403: a token, or a cookie, that is good but no administrator's.
    const asked = answer.status === 401 || answer.status === 403;
    show(answer.status === 401 && !tried ? notice : said.error, asked);
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const token = field.value.trim();
    if (!TOKEN_TEXT.test(token)) return tell("This is no token.");
    sessionStorage.setItem(TOKEN, token);
    field.value = "";
    knock();
  });
  document.getElementById("door-again").addEventListener("click", () => location.reload());
  knock();
})();
