// Shows the OpenAPI document beside this page. `validatorUrl: null`, or Swagger UI asks a validator on the internet.
SwaggerUIBundle({
  url: new URL("openapi.json", document.baseURI).href,
  dom_id: "#reference",
  deepLinking: true,
  validatorUrl: null,
});
