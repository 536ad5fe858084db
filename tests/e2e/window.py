"""A browser window that notes what no page may do."""

from django.conf import settings
from django.test import Client
from waiting import PATIENCE


class Window:
    """`problems` collects errors on the console, requests to other hosts and answers that are not 200."""

    def __init__(self, browser, site):
        self.site, self.problems = site, []
        self.page = browser.new_context(viewport={"width": 1366, "height": 900}).new_page()
        self.page.set_default_timeout(PATIENCE * 1000)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("request", self._request)

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.problems.append(f"{self.page.url} console: {message.text}")

    def _request(self, request):
        if not request.url.startswith((self.site, "data:", "blob:")):
            self.problems.append(f"{self.page.url} asks {request.url}")

    def visit(self, path):
        answer = self.page.goto(self.site + path)
        if answer.status != 200:
            self.problems.append(f"{path} answers {answer.status}")

    def log_in(self):
        self.visit("/admin/")
        self.page.get_by_label("Username").fill("chief")
        self.page.get_by_label("Password").fill("secret")
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(f"{self.site}/admin/")

    def log_in_as(self, user):
        """Somebody else sits down at this window; no password is needed."""
        client = Client()
        client.force_login(user)
        cookie = client.cookies[settings.SESSION_COOKIE_NAME]
        self.page.context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": self.site}])

    def menu(self):
        """The addresses of the menu's entries, and of those under Settings."""
        self.visit("/admin/settings/")
        links = self.page.locator("#nav-sidebar a[href^='/admin/'], ul.rest a")
        return list(dict.fromkeys(links.evaluate_all("all => all.map(one => one.getAttribute('href'))")))

    def sideways(self):
        """The elements that make the page scroll sideways."""
        self.page.wait_for_load_state()
        return self.page.evaluate(
            """() => document.documentElement.scrollWidth <= window.innerWidth ? [] :
               [...document.querySelectorAll("body *")]
               .filter(one => one.getBoundingClientRect().right > innerWidth + 1)
               .slice(0, 3).map(one => `${one.tagName}.${one.className}`)"""
        )
