;;; smtps-explain.el --- What servers' replies mean, in words  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; The words are data, in the file explanations.sexp beside the helper's
;; source, which the command line uses as well: the codes of RFC 5321, the
;; registered enhanced codes, what some providers mean by theirs, EHLO's
;; keywords and the commands.  The file is read once, when it is needed.
;;
;; What is returned has no word of the server's in it, and so can be shown as
;; it is.  Python does the same by the same file, in smtps/explain.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'smtps-wire)

(declare-function smtps-helper--python-directory "smtps-helper" ())
(defvar smtps-session--arguments)
(defvar smtps-session--data)
(declare-function smtps-session--due "smtps-session-state" ())

;;;; The file

(defvar smtps-explain--book nil
  "What the file says: a hash table from names to lists (KEY . PROPERTIES).
KEY is a string.  It is nil until the file was read.")

(defun smtps-explain--read ()
  "Read the file of explanations into a hash table, and return that."
  (require 'smtps-helper)
  (let ((book (make-hash-table :test #'eq))
        (file-name-handler-alist nil)
        (coding-system-for-read 'utf-8-unix))
    (with-temp-buffer
      (insert-file-contents
       (expand-file-name "smtps/explain/explanations.sexp"
                         (smtps-helper--python-directory)))
      (dolist (line (split-string (buffer-string) "\n" t))
        (pcase-let ((`(,name . ,rest) (smtps-wire-read line)))
          (push (if (keywordp (car rest)) (cons "" rest)
                  (cons (format "%s" (car rest)) (cdr rest)))
                (gethash name book)))))
    (maphash (lambda (name forms) (puthash name (nreverse forms) book)) book)
    book))

(defun smtps-explain--forms (name)
  "Return the entries called NAME, a symbol: lists (KEY . PROPERTIES).
Signal `smtps-helper-missing' if the file is not there."
  (gethash name (or smtps-explain--book
                    (setq smtps-explain--book (smtps-explain--read)))))

(defun smtps-explain--one (name key)
  "Return the properties of the entry of NAME with KEY, a string, or nil."
  (cdr (assoc key (smtps-explain--forms name))))

;;;; Replies

(defconst smtps-explain--head
  (concat "\\`\\(?:\\([2-5][0-9][0-9]\\)\\(?:[ -]\\|\\'\\)\\)?"
          "\\(?:\\(\\([245]\\)\\.\\([0-9]\\{1,3\\}\\)\\.\\([0-9]\\{1,3\\}\\)\\)"
          "\\(?: \\|\\'\\)\\)?")
  "What a line of a reply begins with.
Group 1 is the code, 2 the enhanced code, 3 to 5 its parts.")

(defun smtps-explain--lower (text)
  "Return TEXT with its ASCII letters in lower case."
  (with-case-table ascii-case-table (downcase text)))

(defun smtps-explain--unheaded (line)
  "Return LINE, the next of a reply, without its code and enhanced code."
  (string-match smtps-explain--head line)
  (substring line (match-end 0)))

(defun smtps-explain--by-code (code step)
  "Return the properties of CODE in answer to STEP, an entry or nil."
  (let ((found (cl-remove-if-not (lambda (form) (equal (car form) code))
                                 (smtps-explain--forms 'code)))
        (at (and step (intern (car step)))))
    (cdr (or (and at (cl-find at found :key (lambda (form) (plist-get (cdr form) :at))))
             (cl-find-if-not (lambda (form) (plist-get (cdr form) :at)) found)))))

(defun smtps-explain--by-enhanced (subject detail)
  "Return the properties of the enhanced code with SUBJECT and DETAIL, numbers.
Those of one that is not registered are its subject's."
  (or (smtps-explain--one 'enhanced (format "%d.%d" subject detail))
      (smtps-explain--one 'enhanced (format "%d.0" subject))))

(defun smtps-explain--speaks-p (provider said host)
  "Return non-nil if it is PROVIDER that SAID this.
PROVIDER's properties tell HOSTs and marks of its own; without hosts, it may
be any server."
  (let ((hosts (plist-get provider :hosts))
        (host (string-trim-right (smtps-explain--lower (or host "")) "\\.+")))
    (or (null hosts)
        (cl-some (lambda (ours)
                   (or (string= host ours) (string-suffix-p (concat "." ours) host)))
                 hosts)
        (cl-some (lambda (mark) (string-search mark said))
                 (plist-get provider :marks)))))

(defun smtps-explain--known (said code step host)
  "Return the properties of what is known of SAID, a reply in lower case.
CODE is its code, STEP the entry of its step, HOST who said it; each may be
nil."
  (let ((providers
         (cl-loop for (key . properties) in (smtps-explain--forms 'provider)
                  when (smtps-explain--speaks-p properties said host) collect key))
        (number (and code (string-to-number code))))
    (cl-loop
     for (key . properties) in (smtps-explain--forms 'reply)
     for codes = (plist-get properties :codes)
     for at = (plist-get properties :at)
     when (and (member key providers)
               (or (null codes) (memql number codes))
               (or (null at) (null step) (string= at (car step)))
               (cl-every (lambda (words) (string-search words said))
                         (plist-get properties :words)))
     return properties)))

(defun smtps-explain--who (menders)
  "Return a sentence on who can mend it: MENDERS, a list of properties."
  (let ((names (mapconcat (lambda (mender) (plist-get mender :name)) menders " or ")))
    (concat (upcase (substring names 0 1)) (substring names 1) " can mend it.")))

(defun smtps-explain--sourced (properties &optional name)
  "Return the words of an entry with PROPERTIES, behind NAME, and their source."
  (concat (and name (concat name ": "))
          (plist-get properties :means)
          " (" (plist-get properties :source)
          (and (plist-get properties :known)
               (concat ", " (plist-get properties :known)))
          ")"))

;;;###autoload
(cl-defun smtps-explain-reply (text &key step host)
  "Return what the reply TEXT, all its lines, means; nil if it is no reply.
A code or an enhanced code alone will do.  STEP is what it answers: a symbol
as the helper's events have it, such as `greeting', `auth' or `rcpt'.  HOST
is the server.  Both may be nil.

The value is a plist: `:short' a sentence or two for one line, `:long' all
that is known, a line each, and `:next' what to do next, or nil if nothing
failed.  Sources: RFC 5321 section 4.2, RFC 3463, and for each sentence its
own.  Signal `smtps-helper-missing' if the file of explanations is not there."
  (save-match-data
    (let ((lines (mapcar (lambda (line) (string-trim line "[ \t\r]+" "[ \t\r]+"))
                         (split-string text "\n"))))
      (string-match smtps-explain--head (car lines))
      (let ((code (match-string 1 (car lines)))
            (enhanced (match-string 2 (car lines)))
            (category (match-string 3 (car lines)))
            (subject (match-string 4 (car lines)))
            (detail (match-string 5 (car lines))))
        (when (and code enhanced (not (string-prefix-p category code)))
          (setq enhanced nil))
        (when (or code enhanced)
          (smtps-explain--reply
           code enhanced
           (and enhanced
                (smtps-explain--by-enhanced (string-to-number subject)
                                            (string-to-number detail)))
           (smtps-explain--lower
            (replace-regexp-in-string
             "[ \t\r\n]+" " "
             (string-join (cons (car lines)
                                (mapcar #'smtps-explain--unheaded (cdr lines)))
                          " ")))
           (cl-find-if (lambda (form) (memq step (plist-get (cdr form) :verbs)))
                       (and step (smtps-explain--forms 'step)))
           host))))))

(defun smtps-explain--reply (code enhanced by-enhanced said step host)
  "Explain the reply SAID with CODE and ENHANCED, one of which may be nil.
BY-ENHANCED are the properties of the latter, STEP is the entry of its step,
HOST who said it.  The value is as of `smtps-explain-reply'."
  (let* ((digit (substring (or code enhanced) 0 1))
         (failed (member digit '("4" "5")))
         (by-class (smtps-explain--one 'class digit))
         (by-code (smtps-explain--by-code code step))
         (known (smtps-explain--known said code step host))
         (best (or known
                   (and (not (plist-get by-enhanced :vague)) by-enhanced)
                   by-code by-enhanced by-class))
         (menders (and failed
                       (mapcar (lambda (name)
                                 (smtps-explain--one 'mender (symbol-name name)))
                               (plist-get best :mend))))
         (who (and menders (smtps-explain--who menders)))
         ;; What is refused for now mends itself, as a rule.
         (general (if (or (string= digit "4") (null menders)) by-class (car menders)))
         (next (and failed (or (plist-get best :next) (plist-get general :next)))))
    (list
     :short (concat (string-join (delq nil (list code enhanced)) " ") ": "
                    (plist-get best :means)
                    (and who (concat " " who)))
     :long (string-join
            (delq nil
                  (list (and step (format "This answers %s."
                                          (plist-get (cdr step) :name)))
                        (and known (smtps-explain--sourced known))
                        (and by-code (smtps-explain--sourced by-code code))
                        (and failed (smtps-explain--sourced by-class
                                                            (concat digit "yz")))
                        (and by-enhanced (smtps-explain--sourced by-enhanced enhanced))
                        who
                        (and next (concat "Next: " next))))
            "\n")
     :next next)))

;;;; Keywords and commands

;;;###autoload
(defun smtps-explain-keyword (keyword)
  "Return a line on EHLO's KEYWORD and what it promises, or nil.
What stands behind it, after a blank or an equals sign, does not matter."
  (let* ((name (upcase (car (split-string keyword "[ =]"))))
         (properties (smtps-explain--one 'keyword name)))
    (and properties (smtps-explain--sourced properties name))))

;;;###autoload
(defun smtps-explain-verb (line)
  "Return a line on the command in LINE: how it is written, and what it is for.
Return nil if LINE begins with none that is known."
  (let* ((verb (upcase (or (car (split-string line "[ \t:]+" t)) "")))
         (properties (smtps-explain--one 'verb verb)))
    (and properties
         (smtps-explain--sourced properties (plist-get properties :syntax)))))

;;;; In a session

(defconst smtps-explain--reply-lines 256
  "Lines of one reply, as the helper takes them at most.")

(defun smtps-explain--line-at-point ()
  "Return the text of the line at point, whatever its fields."
  (let ((inhibit-field-text-motion t))
    (buffer-substring-no-properties (line-beginning-position) (line-end-position))))

(defun smtps-explain--reply-at-point ()
  "Return the reply at point in a session: (INDEX . LINES), without `recv> '.
LINES are all of it, and INDEX is the number of lines before point's.  Return
nil if the line at point is none of a reply."
  (save-excursion
    (forward-line 0)
    (save-match-data
      (when (looking-at "recv> \\([2-5][0-9][0-9]\\)\\(?:[ -]\\|$\\)")
        (let* ((same (concat "recv> " (match-string 1)))
               (more (concat same "-"))
               (index 0)
               lines)
          (while (and (< index smtps-explain--reply-lines)
                      (not (bobp))
                      (save-excursion (forward-line -1) (looking-at-p more)))
            (forward-line -1)
            (setq index (1+ index)))
          (while (progn
                   (push (string-remove-prefix "recv> " (smtps-explain--line-at-point))
                         lines)
                   (and (< (length lines) smtps-explain--reply-lines)
                        (looking-at-p more)
                        (zerop (forward-line 1))
                        (looking-at-p same))))
          (cons index (nreverse lines)))))))

(defun smtps-explain-session-line ()
  "Explain the line at point in a session; return as `smtps-explain-reply', or nil.
One that is being typed is explained if it begins with a command."
  (let ((line (smtps-explain--line-at-point))
        (step (get-text-property (let ((inhibit-field-text-motion t))
                                   (line-beginning-position))
                                 'smtps-explain-step)))
    (cond
     ((string-prefix-p "recv> " line)
      (pcase-let ((`(,index . ,lines) (smtps-explain--reply-at-point)))
        (or (and (eq step 'ehlo)
                 index
                 (> index 0)
                 (smtps-explain--line
                  (smtps-explain-keyword (substring (nth index lines) 4))))
            (and lines
                 (smtps-explain-reply
                  (string-join lines "\n") :step step
                  :host (plist-get smtps-session--arguments :host))))))
     ((and (string-prefix-p "send> " line)
           (if step (not (memq step '(response body other)))
             ;; It is being typed: part of a message, or of a login, is no command.
             (not (or smtps-session--data (smtps-session--due)))))
      (smtps-explain--line (smtps-explain-verb (substring line 6)))))))

(defun smtps-explain--line (line)
  "Return LINE, or nil, in the form of `smtps-explain-reply'."
  (and line (list :short line :long line)))

(defun smtps-explain-eldoc (&rest _)
  "Return what the line at point in a session means, for ElDoc."
  (ignore-error smtps-helper-missing
    (plist-get (smtps-explain-session-line) :short)))

(defun smtps-explain-help-echo (_window object position)
  "Return what the line at POSITION in OBJECT, a session's buffer, means."
  (when (bufferp object)
    (with-current-buffer object
      (save-excursion
        (goto-char position)
        (ignore-error smtps-helper-missing
          (plist-get (smtps-explain-session-line) :short))))))

;;;; The command

(defvar-local smtps-explain-at-point-function nil
  "A function that explains what is at point, as `smtps-explain-reply', or nil.")

(defvar smtps-explain-history nil
  "What was asked to be explained.")

(defun smtps-explain--names ()
  "Return the codes, enhanced codes, keywords and commands that are known."
  (delete-dups
   (append (mapcar #'car (smtps-explain--forms 'code))
           (mapcar (lambda (form) (concat "5." (car form)))
                   (smtps-explain--forms 'enhanced))
           (mapcar #'car (smtps-explain--forms 'keyword))
           (mapcar #'car (smtps-explain--forms 'verb)))))

(defun smtps-explain--ask ()
  "Ask for what is to be explained, and return it."
  (let ((minibuffer-local-completion-map
         (let ((map (make-sparse-keymap)))
           (set-keymap-parent map minibuffer-local-completion-map)
           ;; A reply has blanks.
           (define-key map " " #'self-insert-command)
           map)))
    (completing-read "Explain (reply, code, keyword or command): "
                     (smtps-explain--names) nil nil nil 'smtps-explain-history)))

(defun smtps-explain--asked (text)
  "Explain TEXT: a reply, a keyword or a command.  Signal `user-error' for others."
  (let ((text (string-trim text)))
    (or (smtps-explain-reply text)
        (let ((found (delq nil (list (smtps-explain-verb text)
                                     (smtps-explain-keyword text)))))
          (and found (smtps-explain--line (string-join found "\n"))))
        (user-error "“%s” is no reply, keyword or command that is known"
                    (truncate-string-to-width text 60 nil nil t)))))

;;;###autoload
(defun smtps-explain (what)
  "Tell in a buffer what WHAT means, and who can mend it.
WHAT is a reply, such as \"550 5.7.26\", a keyword of EHLO or a command, or as
`smtps-explain-reply' returns it.  Interactively it is what is at point in a
session or in the outbox; elsewhere, or with a prefix argument, it is asked for."
  (interactive
   (list (or (and smtps-explain-at-point-function
                  (not current-prefix-arg)
                  (funcall smtps-explain-at-point-function))
             (smtps-explain--ask))))
  (let ((explained (if (stringp what) (smtps-explain--asked what) what)))
    (with-help-window "*smtps explanation*"
      (with-current-buffer standard-output
        (let ((fill-prefix "  "))
          (dolist (line (split-string (plist-get explained :long) "\n"))
            (let ((begin (point)))
              (insert line "\n")
              (fill-region-as-paragraph begin (point)))))))))

(provide 'smtps-explain)
;;; smtps-explain.el ends here
